"""The code that this process has loaded."""

import os
import platform
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from flaskd.app.wrapped import find_flask
from flaskd.ledger.error_report import OWN, PACKAGES, STANDARD
from flaskd.release.code import MOST_PACKAGES, packages
from flaskd.release.git import is_dirty
from flaskd.serving import Core
from flaskd.tasks import CodeDescribed, DescribeCode, FilesListed, ListFiles
from flaskd.tasks.code import MOST_FILES

LONGEST_PATH: Final = 4096
LONGEST: Final = 256


def describe_code(core: Core, task: DescribeCode) -> CodeDescribed:
    """Describe it, as it was when it was loaded; and ask git whether it has changed since."""
    code, loaded, now = core.code, core.packages, packages()
    changed = {
        name: now.get(name, "") for name in loaded.keys() | now.keys() if loaded.get(name) != now.get(name)
    }
    return CodeDescribed(
        python=platform.python_version(),
        executable=_sendable(sys.executable, LONGEST_PATH),
        directory=_sendable(code.directory, LONGEST_PATH),
        commit=code.revision.commit,
        branch=_sendable(code.revision.branch),
        modified=code.modified,
        dirty=is_dirty(code.directory) if code.directory else None,
        packages=_bounded(loaded),
        more=max(0, len(loaded) - MOST_PACKAGES),
        changed=_bounded(changed),
    )


def list_files(core: Core, task: ListFiles) -> FilesListed:
    """List what was loaded until now: modules that a view imports may follow."""
    files = {os.path.realpath(file) for module in list(sys.modules.values()) if (file := _source(module))}
    return FilesListed(
        modules=_sendable_paths(file for file in files if not _is_given(file)),
        templates=_sendable_paths({os.path.realpath(each) for each in _template_directories(core.app)}),
    )


def _source(module: object) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else ""


def _is_given(file: str) -> bool:
    """Whether a file is Python's or flaskd's own. Packages may be installed below the standard library."""
    return file.startswith(OWN) or (file.startswith(STANDARD) and not any(part in file for part in PACKAGES))


def _template_directories(app: object) -> Iterator[str]:
    """Yield the directories of a Flask application's templates and of its blueprints'."""
    if (found := find_flask(app)) is not None:
        loaders: list[Any] = [each.jinja_loader for each in (found, *found.blueprints.values())]
        while loaders:
            loader = loaders.pop()
            loaders += getattr(loader, "loaders", ())  # jinja2.ChoiceLoader
            yield from getattr(loader, "searchpath", ())  # jinja2.FileSystemLoader


def _sendable_paths(found: Iterable[str]) -> list[str]:
    return [path for path in sorted(found) if path.isprintable() and len(path) <= LONGEST_PATH][:MOST_FILES]


def _bounded(found: dict[str, str]) -> dict[str, str]:
    return {_sendable(name): _sendable(found[name]) for name in sorted(found)[:MOST_PACKAGES]}


def _sendable(text: str, longest: int = LONGEST) -> str:
    """Return a text as JSON can have it, and no longer than that."""
    return text.encode("utf-8", "backslashreplace").decode()[:longest]
