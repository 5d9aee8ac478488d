"""Build the sdist and the wheel, check them, and run the demonstration from the wheel in an environment of its own.

    python3 .ci/package.py

The environment has the wheel, its dependencies and the application that is served, and nothing else.
"""

import subprocess
import tempfile
import venv
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
        alone = Path(directory, "environment")
        venv.create(alone, symlinks=True)
        its = alone / "bin" / "python"
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "--python",
            its,
            "install",
            "-qq",
            "--disable-pip-version-check",
        ]
        environment.run([*pip, wheel, "httpbin>=0.10"])
        environment.run([python, ".ci/demo.py", "--python", its])


def check_content(wheel: Path) -> None:
    """Raise SystemExit unless the wheel has every module of both packages, their types' marks, and nothing else."""
    tracked = subprocess.run(
        ["git", "ls-files", "flaskd", "flaskd_ctl"],
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
