"""JSON as RFC 8259 has it. Python also reads NaN, Infinity and halves of characters, which cannot be passed on as JSON."""

from __future__ import annotations

import json
import math
from typing import Any


def loads(text: bytes) -> Any:
    """Read JSON. Raises ValueError, also for a number too large for a float; RecursionError for what is nested too deeply."""
    read = json.loads(text, parse_constant=_finite, parse_float=_finite)
    if b"\\u" in text:  # only an escape can be half a character (a surrogate)
        json.dumps(read, ensure_ascii=False).encode()
    return read


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number
