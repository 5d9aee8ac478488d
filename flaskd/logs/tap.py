"""Keeps the records of a program that configures `logging` itself (`flaskd.Server`) in a ring, and changes nothing for it.

A handler at the root logger would: `logging.basicConfig` does nothing where there is one, and Flask then adds none of its own.
So records are taken where they are made.
"""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

from flaskd.logs.record import LONGEST, LONGEST_NAME
from flaskd.logs.ring import Ring
from flaskd_ctl.contract.log_line import level_name
from flaskd_ctl.protocol import LogLine

ONE_PROCESS: Final = 0
"""The worker of each line, where one process serves."""


@contextlib.contextmanager
def tapped(ring: Ring, request_id: Callable[[], str]) -> Iterator[None]:
    """Keep a copy of each record that this process makes in `ring`, with the id of its thread's request."""
    before = logging.getLogRecordFactory()
    taking = True

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        if taking:
            with contextlib.suppress(Exception):  # what fails here fails where it is written, which tells why
                ring.append([_line(record, request_id())])
        return record

    logging.setLogRecordFactory(make)
    try:
        yield
    finally:
        taking = False
        if logging.getLogRecordFactory() is make:  # else somebody has put theirs around ours
            logging.setLogRecordFactory(before)


def _line(record: logging.LogRecord, request_id: str) -> LogLine:
    """Return the line of a record. No formatter is asked: it would leave its traceback in the record for all others."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = "\n".join([text, "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")])
    if record.stack_info:
        text = f"{text}\n{record.stack_info}"
    return LogLine(
        at=record.created,
        level=level_name(record.levelno),
        worker=ONE_PROCESS,
        message=text[:LONGEST].encode("utf-8", "backslashreplace").decode(),
        request_id=request_id,
        logger=record.name[:LONGEST_NAME],
    )
