"""The handler at the root logger: an application that configures logging itself keeps its own ways."""

import io
import logging
import logging.config
from collections.abc import Iterator

import pytest

from flaskd.console.priority import Priority
from flaskd.console.say import say, send_to
from flaskd.logs import handler
from flaskd.logs.record import decode
from flaskd_ctl.protocol import LogLine


class Log:
    """What the supervisor gets."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.request = ""

    def lines(self) -> list[LogLine]:
        return [line for each in self.written if (line := decode(each, 3)) is not None]


@pytest.fixture
def log() -> Iterator[Log]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers[:] = []
    log = Log()
    handler.install(log.written.append, "info", lambda: log.request)
    yield log
    send_to(None)
    root.handlers[:], root.level = before, level


def test_a_record_has_level_logger_and_the_request_of_its_thread(log: Log) -> None:
    """And the traceback below the message, in one record."""
    log.request = "ab-1"
    try:
        int("")
    except ValueError:
        logging.getLogger("shop.cart").exception("cannot pay %s", "Ann")

    (line,) = log.lines()

    assert (line.level, line.logger, line.request_id) == ("error", "shop.cart", "ab-1")
    assert line.message.startswith("cannot pay Ann\nTraceback (most recent call last):\n")
    assert line.message.splitlines()[-1].startswith("ValueError: ")


def test_the_level_is_that_of_the_root_logger(log: Log) -> None:
    """A logger with a level of its own keeps it."""
    verbose = logging.getLogger("test_handler.verbose")
    verbose.setLevel("DEBUG")
    handler.set_level("warning")

    logging.getLogger("test_handler.other").info("not wanted")
    say("flaskd: not wanted")
    verbose.debug("wanted")

    assert [line.message for line in log.lines()] == ["wanted"]


def test_what_is_said_to_people_is_a_record(log: Log) -> None:
    """With its priority as the level; the program's name is the logger."""
    say("flaskd: shop has recovered", Priority.NOTICE)
    say("flaskd: lost GET /\n", Priority.ERR)

    assert [(line.level, line.logger, line.message) for line in log.lines()] == [
        ("info", "flaskd", "shop has recovered"),
        ("error", "flaskd", "lost GET /\\n"),
    ]


def test_a_formatter_of_the_applications_makes_the_message(log: Log) -> None:
    """Level and request are known all the same."""
    logging.getLogger().handlers[0].setFormatter(logging.Formatter("<%(levelname)s> %(message)s"))

    logging.getLogger("shop").warning("slow")

    assert [(line.level, line.message) for line in log.lines()] == [("warning", "<WARNING> slow")]


def test_an_application_that_configures_logging_writes_where_it_wants(log: Log) -> None:
    """dictConfig takes the root logger's handlers away, ours too."""
    stream = io.StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"own": {"format": "OWN %(message)s"}},
            "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own", "stream": stream}},
            "root": {"handlers": ["own"], "level": "INFO"},
        }
    )

    logging.getLogger("shop").info("hello")

    assert stream.getvalue() == "OWN hello\n"
    assert not log.written


def test_a_record_that_cannot_be_formatted_stops_nobody(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    """As with every handler of `logging`: it tells on stderr."""
    ours = logging.getLogger().handlers[0]

    ours.handle(logging.LogRecord("shop", logging.INFO, "", 1, "%d items", ("many",), None))

    assert not log.written
    assert "--- Logging error ---" in capsys.readouterr().err


def test_nobody_who_reads_is_no_reason_to_fail() -> None:
    """The supervisor may be gone, while the worker answers its last request."""

    def broken(data: bytes) -> None:
        raise BrokenPipeError

    lone = handler.RecordHandler(broken)

    lone.handle(logging.LogRecord("shop", logging.ERROR, "", 1, "bye", (), None))
    lone.say("flaskd: bye", Priority.ERR)
