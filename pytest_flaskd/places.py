"""A runtime directory and a state directory that nobody else uses.

So an instance of a test does not collide with one of another test, of another process of pytest-xdist, or of the developer,
even if all have the same name; and it leaves nothing behind.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

OF_THE_DEVELOPER: Final = (
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "SYSTEMD_EXEC_PID",
)
"""Variables that would lead an instance elsewhere, or make it believe that systemd has started it."""


class Places(NamedTuple):
    """The two directories."""

    runtime: str
    state_home: str

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with these directories, and without FLASKD_ variables: a test sets what it needs itself."""
        kept = {
            name: value
            for name, value in environ.items()
            if name not in OF_THE_DEVELOPER and not name.startswith("FLASKD_")
        }
        return kept | {"FLASKD_RUNTIME_DIR": self.runtime, "XDG_STATE_HOME": self.state_home}


@contextlib.contextmanager
def private_places() -> Iterator[Places]:
    """Make both directories in a short path (unix(7) limits those of sockets), and remove them at the end."""
    short = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108 - mkdtemp(3) makes it private
    base = tempfile.mkdtemp(prefix="fd-", dir=short)
    try:
        places = Places(os.path.join(base, "r"), os.path.join(base, "s"))
        for directory in places:
            os.mkdir(directory, mode=0o700)
        yield places
    finally:
        shutil.rmtree(base, ignore_errors=True)
