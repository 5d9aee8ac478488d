"""Small JSON files that instances leave: `instance.json` in the runtime directory, and notes in the state directory."""

from __future__ import annotations

import json
from typing import Any, Final

LARGEST_FILE: Final = 64 * 1024


def read_object(path: str, *, largest: int = LARGEST_FILE) -> dict[str, Any]:
    """Read a JSON object from a file of at most `largest` bytes; {} for anything else."""
    try:
        with open(path, "rb") as file:
            read = json.loads(file.read(largest))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}
