"""A `Server` keeps the records of its program, and changes nothing for it."""

import logging
from typing import Any

from flaskd.logs.ring import Ring, Wanted
from flaskd.logs.tap import tapped


def test_records_are_kept_with_their_request_and_traceback() -> None:
    """Of any logger, wherever the program has them written; not before, and not after."""
    ring, log = Ring(), logging.getLogger("test_tap.program")
    log.propagate = False
    log.warning("before")
    with tapped(ring, lambda: "ab-1"):
        try:
            int("")
        except ValueError:
            log.exception("cannot pay %s", "Ann")
    log.warning("after")

    (line,) = ring.newest(Wanted(), 10).lines

    assert (line.level, line.worker, line.logger, line.request_id) == ("error", 0, log.name, "ab-1")
    assert line.message.startswith("cannot pay Ann\nTraceback")
    assert line.message.splitlines()[-1].startswith("ValueError: ")


def test_the_program_notices_nothing() -> None:
    """No handler is added, the factory is its own again, and a traceback is not left in the record."""
    seen: list[logging.LogRecord] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    log, handler, factory = logging.getLogger("test_tap.handled"), Seen(), logging.getLogRecordFactory()
    handlers = logging.getLogger().handlers[:]
    log.addHandler(handler)
    log.propagate = False  # pytest formats what comes to the root logger
    with tapped(Ring(), str):
        assert logging.getLogger().handlers == handlers
        log.warning("with a traceback", exc_info=ValueError("x"))
    log.removeHandler(handler)

    assert logging.getLogRecordFactory() is factory
    assert [record.exc_text for record in seen] == [None]


def test_a_record_that_cannot_be_formatted_is_the_programs_own_trouble() -> None:
    """It is logged as ever, and only missing here."""
    ring = Ring()
    with tapped(ring, str):
        logging.getLogger("test_tap.null").addHandler(logging.NullHandler())
        logging.getLogger("test_tap.null").propagate = False
        logging.getLogger("test_tap.null").error("%d", "many")

    assert ring.newest(Wanted(), 10).lines == []


def test_a_factory_put_around_ours_stays() -> None:
    """Its program put it there; ours is silent below it."""
    ring, before = Ring(), logging.getLogRecordFactory()
    try:
        with tapped(ring, str):
            ours = logging.getLogRecordFactory()

            def around(*args: Any, **kwargs: Any) -> logging.LogRecord:
                return ours(*args, **kwargs)

            logging.setLogRecordFactory(around)
        logging.getLogger("test_tap.around").warning("after")

        assert logging.getLogRecordFactory() is around
        assert ring.newest(Wanted(), 10).lines == []
    finally:
        logging.setLogRecordFactory(before)
