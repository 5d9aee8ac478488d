"""The code that this process has loaded."""

import platform
import sys
from typing import Final

from flaskd.release.code import MOST_PACKAGES, packages
from flaskd.release.git import is_dirty
from flaskd.serving import Core
from flaskd.tasks import CodeDescribed, DescribeCode

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


def _bounded(found: dict[str, str]) -> dict[str, str]:
    return {_sendable(name): _sendable(found[name]) for name in sorted(found)[:MOST_PACKAGES]}


def _sendable(text: str, longest: int = LONGEST) -> str:
    """Return a text as JSON can have it, and no longer than that."""
    return text.encode("utf-8", "backslashreplace").decode()[:longest]
