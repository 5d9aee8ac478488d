"""The directory that an application is loaded from, and what is in it."""

import os
import sys
from typing import Any, Final, NamedTuple

from flaskd.release.git import Revision, revision_of
from flaskd.settings.target import is_path

MOST_PACKAGES: Final = 500
SUFFIXES: Final = (".dist-info", ".egg-info")


class Code(NamedTuple):
    """What an application is loaded from.

    `directory` has its links resolved; "" if it is not known. `modified` is when the application's own file was changed.
    """

    directory: str = ""
    revision: Revision = Revision()
    modified: float | None = None


def on_disk(target: str, directory: str) -> Code:
    """Return what an application would be loaded from now, if it is in `directory` or given by its path.

    `directory` may be a link to the current release. The code of an installed application is not known.
    """
    where = target.partition(":")[0].strip()
    if not where:
        return Code()
    if is_path(where):
        file = os.path.realpath(os.path.join(directory, where))
        root = os.path.dirname(file)
        while os.path.exists(os.path.join(root, "__init__.py")):
            root = os.path.dirname(root)
        return _code(file, root)
    base = os.path.join(directory, *where.split("."))
    for file in (f"{base}.py", os.path.join(base, "__init__.py")):
        if os.path.isfile(file):
            return _code(os.path.realpath(file), os.path.realpath(directory))
    return Code()


def of_module(name: str) -> Code:
    """Return what a module that is loaded has come from."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str):
        return Code()
    root = os.path.dirname(os.path.abspath(file))
    if os.path.basename(file).startswith("__init__."):
        root = os.path.dirname(root)
    for _ in range(name.count(".")):
        root = os.path.dirname(root)
    return _code(os.path.realpath(file), os.path.realpath(root))


def of_target(target: str) -> Code:
    """Return what the application of this process, `target`, was loaded from."""
    found = on_disk(target, os.getcwd())
    return found if found.directory else of_module(target.partition(":")[0].strip())


def of_application(app: Any) -> Code:
    """Return what an application that a program made has come from: the module that it names."""
    name = getattr(app, "import_name", None) or getattr(app, "__module__", None) or type(app).__module__
    return of_module(str(name))


def again(code: Code) -> Code:
    """Look at the same directory again: what a new process would find."""
    return code._replace(revision=revision_of(code.directory)) if code.directory else code


def packages() -> dict[str, str]:
    """Return the packages that an import would find, by their names on disk, which are read without opening a file."""
    found: dict[str, str] = {}
    for directory in sys.path:
        try:
            entries = sorted(os.listdir(directory or "."))
        except OSError:  # an archive, or not there
            continue
        for entry in entries:
            stem, suffix = os.path.splitext(entry)
            name, _, version = stem.partition("-")
            if suffix in SUFFIXES and version:
                found.setdefault(name.replace("_", "-").lower(), version.partition("-py")[0])
    return found


def _code(file: str, root: str) -> Code:
    try:
        modified = os.stat(file).st_mtime
    except OSError:
        modified = None
    return Code(root, revision_of(root), modified)
