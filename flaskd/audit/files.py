"""Write a small file atomically."""

import contextlib
import json
import os
from typing import Any


def write_atomically(path: str, facts: dict[str, Any]) -> None:
    """Write `facts` to `path` as JSON, with mode 0600. A reader sees the old file or the new one. Raises OSError."""
    temporary = f"{path}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(facts, file)
        os.replace(temporary, path)
    except OSError:  # the disk is full
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
