"""Build the sdist and the wheel, check them, install as docs/install.md says, and run the demonstration from the wheel.

    python3 .ci/package.py

The environment of the demonstration has the wheel, its dependencies and the application that is served, and nothing else.
"""

import os
import re
import shlex
import subprocess
import tempfile
import tomllib
import zipfile
from pathlib import Path

import environment


def main() -> None:
    """Build, check, install, run; end with the status of what fails."""
    python = environment.ready(environment.group("build"))
    with tempfile.TemporaryDirectory(prefix="flaskd-build-") as directory:
        built = Path(directory, "dist")
        environment.run([python, "-m", "build", "--outdir", built])
        (wheel,) = built.glob("*.whl")
        (sdist,) = built.glob("*.tar.gz")
        environment.run([python, "-m", "twine", "check", "--strict", wheel, sdist])
        check_content(wheel)
        alone = Path(directory, "alone")
        alone.mkdir()
        install("From a package index", alone, PIP_FIND_LINKS=str(built))
        its = alone / ".venv" / "bin" / "python"
        pip: list[str | Path] = [its, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        environment.run([*pip, "httpbin>=0.10"])
        environment.run([python, ".ci/demo.py", "--python", its])
        checkout = Path(directory, "checkout")
        environment.run(["git", "checkout-index", "--all", f"--prefix={checkout}/"])
        install("From a checkout", checkout)
        install("On a host without an index", checkout)


def install(section: str, directory: Path, **environ: str) -> None:
    """Do what a section of docs/install.md says, as it is written there."""
    page = (environment.ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    _, _, rest = page.partition(f"\n## {section}\n")
    blocks = re.findall(r"^```sh\n(.*?)^```", rest.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    script = f"cd {shlex.quote(str(directory))}\n{''.join(blocks)}"
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_QUIET": "2"}
    environment.run(["sh", "-eux", "-c", script], environ=os.environ | quiet | environ)


def check_content(wheel: Path) -> None:
    """Raise SystemExit unless the wheel has every module of its packages, their types' marks, and nothing else."""
    project = tomllib.loads((environment.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    tracked = subprocess.run(
        ["git", "ls-files", *packages],
        cwd=environment.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    if packed != set(tracked):
        wrong = ", ".join(sorted(packed ^ set(tracked)))
        raise SystemExit(f"{wheel.name} has too much or too little: {wrong}")


if __name__ == "__main__":
    main()
