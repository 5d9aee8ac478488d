"""The flaskd on disk, which an upgrade replaces while a daemon runs.

A process keeps the modules that it has loaded, and a new process gets those on disk. So a supervisor loads at its start
all modules that it may need, and starts no worker of another version.
"""

import functools
import os
import re
from typing import Final

from flaskd import version
from flaskd.errors import ConfigError

_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def installed_version() -> str | None:
    """Return the version that a new process would load; None if it would find no flaskd, or only a part of one.

    The file is read again only if it has changed: each `status` asks.
    """
    try:
        found = os.stat(version.__file__)
    except OSError:
        return None
    return _read_once(
        version.__file__, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


@functools.lru_cache(maxsize=1)
def _read_once(path: str, *_state: int) -> str | None:
    return _read(path)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = _VERSION.search(file.read())
    except UnicodeDecodeError:
        return version.__version__  # a compiled module, which says nothing
    except OSError:
        return None
    return found[1] if found else None


def check_installed() -> None:
    """Raise ConfigError if a new process would load another flaskd than this process has."""
    found = _read(version.__file__)
    if found is None:
        raise ConfigError(
            f"flaskd {version.__version__} runs, but is no longer completely installed: cannot read {version.__file__}",
            hint="install flaskd again",
        )
    if found != version.__version__:
        raise ConfigError(
            f"flaskd {found} is installed now, but this instance runs {version.__version__}",
            hint="restart the instance to use the flaskd that is installed now",
        )
