"""A newer systemd than the machine's, to be laid over its root file system: unpacked from Debian's backports, never installed.

Everything goes to one directory, which is kept for the next run: package lists, archives, and `root`, the files.
"""

import fcntl
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

PACKAGES: Final = ("systemd", "libsystemd0", "libsystemd-shared", "libudev1")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES: Final = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")


def systemd_layer(cache: Path) -> Path:
    """Return a directory with the files of the newest systemd that the release's backports have, made in `cache` once."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may make the same
        root = cache / "root"
        if not root.exists():
            with tempfile.TemporaryDirectory(dir=cache) as directory:
                _unpack(Path(directory), _fetched(Path(directory))).rename(root)
    return root


def _fetched(work: Path) -> list[Path]:
    """Download the packages with apt, with lists and archives of our own."""
    for directory in ("lists/partial", "cache/archives/partial", "packages"):
        (work / directory).mkdir(parents=True)
    backports = f"{_codename()}-backports"
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {backports} main\n")
    places = {
        "Etc::sourcelist": work / "sources.list",
        "Etc::sourceparts": "/dev/null",
        "State::lists": work / "lists",
        "Cache": work / "cache",
    }
    apt = ["apt-get", "-qq", *(f"-oDir::{place}={path}" for place, path in places.items())]
    apt += ["-oAPT::Sandbox::User=root"]  # its own user could not write to our directory
    _run([*apt, "update"], work)
    _run([*apt, "download", *(f"{package}/{backports}" for package in PACKAGES)], work / "packages")
    return sorted((work / "packages").glob("*.deb"))


def _unpack(work: Path, packages: list[Path]) -> Path:
    """Unpack into one tree in which /bin, /sbin and /lib are those of /usr, as on the machine below."""
    assert len(packages) == len(PACKAGES), packages
    files = work / "files"
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(files)], work)
    root = work / "root"
    shutil.copytree(files / "usr", root / "usr", symlinks=True)
    for name in ("bin", "sbin", "lib"):
        if (files / name).is_dir():
            shutil.copytree(files / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
    return root


def _codename() -> str:
    found = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    assert found, "/etc/os-release names no release"
    return found[1]


def _mirror() -> str:
    """Return the mirror from which this machine's apt takes its release: one-line style or deb822 (sources.list(5))."""
    suite = rf"\b{_codename()}\s"
    files = [
        path for source in map(Path, SOURCES) for path in ([source] if source.is_file() else source.glob("*"))
    ]
    for entry in "\n\n".join(path.read_text() for path in files).split("\n\n"):
        one_line = re.search(rf"^deb\s.*?(https?://\S+)\s+{suite}", entry, re.MULTILINE)
        stanza = re.search(r"^URIs:\s*(\S+)", entry, re.MULTILINE)
        if one_line:
            return one_line[1]
        if stanza and re.search(rf"^Suites:.*{suite}", entry + "\n", re.MULTILINE):
            return stanza[1]
    raise AssertionError("apt has no mirror for this release")


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}"
