"""The note of an instance's last stop, where it outlives the runtime directory (which systemd removes)."""

import contextlib
import os
from typing import Any

from flaskd.files import write_atomically
from flaskd_ctl.endpoint import state_dirs


def leave_note(name: str, facts: dict[str, Any]) -> None:
    """Leave `facts` as the last stop of the instance `name`; one that cannot be left keeps nobody from stopping."""
    # "~" stays where neither HOME nor the user database names a home: not a directory to make where we stand.
    directory = next(filter(os.path.isabs, state_dirs(os.environ)))
    with contextlib.suppress(OSError):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        write_atomically(os.path.join(directory, f"{name}.json"), facts)
