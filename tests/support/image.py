"""A base image from the host's own files, since there is no registry: this interpreter and its packages, a shell, HAProxy.

It looks like the official Python images: /usr/local is the interpreter's prefix, and `pip install` finds what it is asked for
already there. Nothing of it is downloaded; a library belongs to it if ldd(1) says so.
"""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[2]
PREFIX: Final = "usr/local"
SITE: Final = f"{PREFIX}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
PACKAGES: Final = ("pip", "flaskd", "granian", "httpbin")
"""What the image has, with all that these need."""

ENVIRONMENT: Final = (
    f"PATH=/{PREFIX}/sbin:/{PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PIP_NO_INDEX=1",
    "PIP_ROOT_USER_ACTION=ignore",
)
"""With what its programs run: what pip does not find in it is not looked for anywhere else."""

UNUSED: Final = {
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "ensurepip",
    "tkinter",
    "turtledemo",
    "site-packages",
}
UNUSED_STDLIB: Final = UNUSED | {"dist-packages", "lib2to3"}


class Root:
    """A root file system in the making, written as a tar to `file`; every path in it once, everything root's."""

    def __init__(self, file: Path) -> None:
        self._tar = tarfile.open(file, "w")  # noqa: SIM115 - `close` ends it
        self._seen: set[str] = set()
        self._binaries: list[str] = []

    def file(self, source: str | Path, target: str) -> None:
        """Copy a file of the host; what it is linked with comes along in `close`."""
        if target not in self._seen:
            self._seen.add(target)
            info = self._tar.gettarinfo(os.path.realpath(source), target)
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            with open(source, "rb") as content:
                if content.read(4) == b"\x7fELF":
                    self._binaries.append(os.fspath(source))
                content.seek(0)
                self._tar.addfile(info, content)

    def text(self, target: str, content: str, *, mode: int = 0o644) -> None:
        """Write a file of our own."""
        self._entry(target, mode=mode, content=content.encode())

    def directory(self, target: str, *, mode: int = 0o755) -> None:
        """Make a directory."""
        self._entry(target, kind=tarfile.DIRTYPE, mode=mode)

    def link(self, target: str, to: str) -> None:
        """Make a symbolic link."""
        self._entry(target, kind=tarfile.SYMTYPE, to=to)

    def tree(self, source: Path, target: str, *, without: Iterable[str] = ()) -> None:
        """Copy a directory, but for entries of these names."""
        for directory, children, names in os.walk(source):
            children[:] = sorted(set(children) - set(without))
            inner = os.path.relpath(directory, source)
            for name in names:
                if not name.startswith("_tkinter") and not name.endswith(".a"):
                    self.file(os.path.join(directory, name), os.path.normpath(f"{target}/{inner}/{name}"))

    def close(self) -> None:
        """Add the libraries, under the paths that the host's linker finds them at, and end the tar."""
        packages = os.path.realpath(sysconfig.get_path("platlib"))  # theirs are beside them
        for library in map(os.path.normpath, _libraries(self._binaries)):
            if not os.path.realpath(library).startswith(packages):
                self.file(library, library.lstrip("/"))
        self._tar.close()

    def _entry(
        self,
        target: str,
        *,
        kind: bytes = tarfile.REGTYPE,
        mode: int = 0o777,
        content: bytes = b"",
        to: str = "",
    ) -> None:
        info = tarfile.TarInfo(target)
        info.type, info.mode, info.size, info.linkname = kind, mode, len(content), to
        self._tar.addfile(info, io.BytesIO(content))


def write_base(file: Path) -> None:
    """Write the base image as a tar."""
    root = Root(file)
    for name in ("sh", "mkdir", "chmod", "sleep", "cat"):
        root.file(_program(name), f"bin/{name}")
    root.file(_program("haproxy"), f"{PREFIX}/sbin/haproxy")
    root.directory("run")
    root.directory("tmp", mode=0o1777)
    root.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    root.text("etc/group", "root:x:0:\nnobody:x:65534:\n")
    root.text("etc/nsswitch.conf", "hosts: files dns\n")
    _interpreter(root)
    for name in sorted(_closure(PACKAGES)):
        _package(root, name)
    root.close()


def _interpreter(root: Root) -> None:
    """Put this interpreter and its standard library under /usr/local, where it finds both by their places (site)."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    root.file(os.path.realpath(sys.executable), f"{PREFIX}/bin/{stdlib.name}")
    for alias in ("python", "python3"):
        root.link(f"{PREFIX}/bin/{alias}", stdlib.name)
    root.tree(stdlib, f"{PREFIX}/lib/{stdlib.name}", without=UNUSED_STDLIB)


def _package(root: Root, name: str) -> None:
    """Put an installed package, its metadata and its programs where pip would have put them."""
    package = _distribution(name)
    files = package.files or []
    if name == "flaskd":  # installed for development: its files are the project's
        for part in ("flaskd", "flaskd_ctl"):
            root.tree(PROJECT / part, f"{SITE}/{part}", without=UNUSED)
        files = [each for each in files if ".dist-info" in each.parts[0]]
    for each in files:
        if ".." not in each.parts and not UNUSED & set(each.parts) and not each.name.endswith(".pth"):
            root.file(Path(str(each.locate())), f"{SITE}/{each}")
    for entry in package.entry_points.select(group="console_scripts"):
        code = f"#!/{PREFIX}/bin/python\nimport sys\nfrom {entry.module} import {entry.attr}\nsys.exit({entry.attr}())\n"
        root.text(f"{PREFIX}/bin/{entry.name}", code, mode=0o755)


def _closure(names: Iterable[str]) -> set[str]:
    """Add what packages need, as far as it is installed: extras that nobody asked for are not."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _needs(name)
    return found


def _needs(name: str) -> Iterator[str]:
    for line in _distribution(name).requires or []:
        needed = re.match(r"[\w.-]+", line)
        if needed and "extra ==" not in line:
            try:
                yield _distribution(needed[0]).name.lower()
            except metadata.PackageNotFoundError:  # for another system or an older Python
                continue


def _distribution(name: str) -> metadata.Distribution:
    """Return an installed package of this environment, whatever else is in `sys.path`; raises PackageNotFoundError."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    for found in metadata.distributions(name=name, path=sorted(places)):
        return found
    raise metadata.PackageNotFoundError(name)


def _libraries(binaries: Iterable[str]) -> Iterator[str]:
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, timeout=60, check=False).stdout
    for line in told.splitlines():
        if found := re.search(r"(?:=> |^\t)(/\S+) \(0x", line):
            yield found[1]


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is not installed"
    return found
