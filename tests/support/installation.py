"""A copy of flaskd that a test can upgrade, break or remove while a daemon runs from it."""

import os
import shutil
from pathlib import Path

import flaskd

ROOT = Path(flaskd.__file__).parents[1]
PACKAGES = ("flaskd", "flaskd_ctl")


class Installation:
    """flaskd in a directory of its own, before all others on the path of programs that get `environ`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ = {"PYTHONPATH": os.pathsep.join([str(directory), *_path()])}
        self.install(flaskd.__version__)

    def install(self, version: str) -> None:
        """Replace it with a version, as pip does: first the old files go."""
        self.remove()
        for name in PACKAGES:
            shutil.copytree(ROOT / name, self.directory / name)
        file = self.directory / "flaskd" / "version.py"
        text = file.read_text()
        file.unlink()  # whatever byte code there is of it is older
        file.write_text(text.replace(f'"{flaskd.__version__}"', f'"{version}"'))

    def remove(self, *parts: str) -> None:
        """Remove files or directories of it; all, if none is named."""
        for part in parts or PACKAGES:
            path = self.directory / part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _path() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
