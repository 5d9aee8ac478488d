"""A record of `logging` on its way from the process that logged it to the supervisor: one line of JSON.

Records have a pipe of their own beside stdout and stderr, so nothing that an application prints can pass for one. The
supervisor knows which worker writes to which pipe, and believes of a record only what concerns that worker.
"""

import time
from typing import Final

import msgspec

from flaskd_ctl.contract.log_line import level_name
from flaskd_ctl.protocol import LogLine

LONGEST: Final = 256 * 1024
"""Characters of a record's text; what is longer is cut, and says so."""

LONGEST_LINE: Final = 2 * 1024 * 1024
"""Bytes of an encoded record: characters that JSON escapes take six."""

LONGEST_NAME: Final = 256
"""Characters of a logger's name, and of a request's id."""

LATEST: Final = 1 << 34
"""The largest time that is believed."""


class Written(msgspec.Struct, frozen=True, array_like=True):
    """What a process writes: Unix time, level as a number, logger, request id, text."""

    at: float
    level: int
    logger: str
    request_id: str
    text: str


_DECODER: Final = msgspec.json.Decoder(Written)


def encode(at: float, level: int, logger: str, *, request_id: str, text: str) -> bytes:
    """Return a record as one line. Never raises for a text, whatever characters it has."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text) - LONGEST} more characters)"
    try:
        return msgspec.json.encode(Written(at, level, logger, request_id, text)) + b"\n"
    except UnicodeEncodeError:  # lone surrogates: the name of a file, say
        logger, request_id, text = (
            each.encode("utf-8", "backslashreplace").decode() for each in (logger, request_id, text)
        )
        return msgspec.json.encode(Written(at, level, logger, request_id, text)) + b"\n"


def decode(line: bytes, worker: int | None, process: str = "worker") -> LogLine | None:
    """Return the record in a line that a process wrote; None if there is none in it."""
    try:
        found = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return LogLine(
        at=found.at if 0 <= found.at <= LATEST else time.time(),
        level=level_name(found.level),
        worker=worker,
        message=found.text,
        request_id=found.request_id[:LONGEST_NAME],
        logger=found.logger[:LONGEST_NAME],
        process=process,
    )
