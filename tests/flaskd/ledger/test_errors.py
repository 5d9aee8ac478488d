"""The table of errors: grouped by type and place, counted, kept in memory that another process reads whatever happens."""

import contextlib
import gc
import mmap
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from flaskd.ledger.error_report import ErrorReport
from flaskd.ledger.errors import GROUPS, SLOT_SIZE, Errors, ErrorTable
from flaskd.ledger.middleware import Ledger
from flaskd.ledger.records import Records
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import ErrorsResult, InFlight
from tests.flaskd.conftest import WAIT

REQUEST = InFlight(
    id=7,
    method="GET",
    path="/tea",
    age=0.1,
    client="::1",
    thread="t",
    endpoint="tea",
    rule="/tea",
    request_id="id-7",
)
REPORT = ErrorReport(
    "shop.OutOfStock", "no tea", "/srv/shop.py", 41, "reserve", "Traceback …\nOutOfStock: no tea"
)

WRITER = f"""
import sys
from flaskd.ledger.errors import ErrorTable
from flaskd.ledger.error_report import ErrorReport
from flaskd_ctl.protocol import InFlight
table = ErrorTable.attach(int(sys.argv[1]))
request = InFlight(id=7, method="GET", path="/tea", age=0.1, client="", thread="", endpoint="tea", request_id="id-7")
for _ in range(3):
    table.record(ErrorReport{tuple(REPORT)!r}, request, 500)
table.record(None, request, 503)
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def table() -> Iterator[ErrorTable]:
    made = ErrorTable.create(4)
    with contextlib.closing(made):
        yield made


def listed(*tables: ErrorTable, gone: Errors | None = None) -> ErrorsResult:
    records = Records()
    if gone is not None:
        records._errors = gone
    return records.errors(dict(enumerate(tables, 1)), None)


def test_the_errors_of_a_worker_outlive_it(table: ErrorTable) -> None:
    """It was killed (kill -9): what it had recorded is in the reader's memory, too."""
    command = [sys.executable, "-c", WRITER, str(table.descriptor)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, pass_fds=[table.descriptor], stdin=pipe, stdout=pipe, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.kill()
        process.wait(WAIT)
    gone = Errors()
    gone.add(table, 3)

    raised, answered = listed(gone=gone).errors

    assert (raised.exception, raised.message, raised.count) == ("shop.OutOfStock", "no tea", 3)
    assert (raised.file, raised.line, raised.function) == ("/srv/shop.py", 41, "reserve")
    assert (raised.method, raised.path, raised.endpoint, raised.request_id) == ("GET", "/tea", "tea", "id-7")
    assert (raised.worker, raised.request, raised.status, raised.traceback) == (3, 7, 500, "")
    assert (answered.exception, answered.endpoint, answered.status, answered.count) == ("", "tea", 503, 1)
    assert 0 < raised.first <= raised.last <= answered.first


def test_one_error_is_shown_with_its_traceback(table: ErrorTable) -> None:
    """By its id, which is the same in each process and after each restart."""
    records = Records()
    table.record(REPORT, REQUEST, 500)
    (short,) = records.errors({1: table}, None).errors

    (whole,) = records.errors({1: table}, short.id).errors

    assert short.traceback == ""
    assert whole.traceback == REPORT.trace
    assert msgspec.structs.replace(whole, traceback="") == short
    with contextlib.closing(ErrorTable.create(4)) as later:
        later.record(REPORT._replace(message="another"), REQUEST, 500)
        assert [each.id for each in listed(later).errors] == [short.id]
    with pytest.raises(NotFound, match="there is no error 'nope'"):
        records.errors({1: table}, "nope")


def test_errors_of_all_workers_are_added_up(table: ErrorTable) -> None:
    """Also of those that are gone; the newest one describes the group."""
    gone = Errors()
    with contextlib.closing(ErrorTable.create(4)) as first:
        first.record(REPORT, REQUEST, 500)
        first.record(REPORT, REQUEST, 500)
        gone.add(first, 1)
    table.record(
        REPORT._replace(message="the newest"), msgspec.structs.replace(REQUEST, request_id="new"), 500
    )

    (error,) = Records.errors(_with(gone), {2: table}, None).errors

    assert (error.count, error.message, error.request_id, error.worker) == (3, "the newest", "new", 2)
    assert error.first < error.last


def _with(gone: Errors) -> Records:
    records = Records()
    records._errors = gone
    return records


def test_the_newest_groups_stay(table: ErrorTable) -> None:
    """The one without an error for the longest time gives way, and how many did is told."""
    for line in (1, 2, 3, 4):
        table.record(REPORT._replace(line=line), REQUEST, 500)
    table.record(REPORT._replace(line=1), REQUEST, 500)
    table.record(REPORT._replace(line=5), REQUEST, 500)

    result = listed(table)

    assert [error.line for error in result.errors] == [3, 4, 1, 5]
    assert [error.count for error in result.errors] == [1, 1, 2, 1]
    assert result.dropped == 1


def test_an_instance_keeps_a_hundred() -> None:
    """The newest, whichever worker they are from."""
    gone = Errors()
    for worker in (1, 2):
        with contextlib.closing(ErrorTable.create()) as one:
            for line in range(80):
                one.record(REPORT._replace(line=1000 * worker + line), REQUEST, 500)
            gone.add(one, worker)

    result = listed(gone=gone)

    assert (len(result.errors), result.dropped) == (GROUPS, 60)
    assert [error.line for error in result.errors][:1] == [1060]
    assert [error.line for error in result.errors][-1:] == [2079]


def test_nothing_is_kept_of_an_exception() -> None:
    """Neither it nor a frame: what the request held is freed with it, without the garbage collector."""

    class Held:
        pass

    held: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        local = Held()
        held.append(weakref.ref(local))
        raise ValueError(local)

    ledger = Ledger(app, lambda: None)
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            ledger({"REQUEST_METHOD": "GET"}, lambda *_: lambda _: None)
        assert held[0]() is None
    finally:
        gc.enable()
    (error,) = ledger.errors.recorded()
    assert error.group().exception == "ValueError"


@given(
    st.binary(min_size=1, max_size=64),
    st.integers(0, 512 + 2 * SLOT_SIZE),
    st.integers(1, 2 * SLOT_SIZE),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_worker_writes_can_be_read(pattern: bytes, start: int, length: int, used: bool) -> None:
    """It runs the application, and may have been taken over: any bytes give a bounded answer that JSON can carry."""
    with contextlib.closing(ErrorTable.create(2)) as table:
        if used:
            table.record(REPORT, REQUEST, 500)
            table.record(None, REQUEST, 500)
        with mmap.mmap(table.descriptor, 512 + 2 * SLOT_SIZE) as memory:
            end = min(start + length, len(memory))
            memory[start:end] = (pattern * (length // len(pattern) + 1))[: end - start]
        gone = Errors()
        gone.add(table, 1)
        result = listed(table, gone=gone)
        whole = [Records.errors(_with(gone), {1: table}, each.id) for each in result.errors]
        for one in (result, *whole):
            encoded = msgspec.json.encode(one)
            assert len(encoded) < 1 << 18
            assert msgspec.json.decode(encoded, type=ErrorsResult) == one
            for error in one.errors:
                assert all(
                    text.isprintable() for text in (error.message, error.path, error.file, error.exception)
                )
                assert error.traceback.replace("\n", "").replace("\t", "").isprintable()
                assert 0 < error.count < 2**53


@pytest.mark.parametrize("sequence", [1, 3])
def test_a_group_that_its_worker_left_half_written_is_still_counted(table: ErrorTable, sequence: int) -> None:
    """The worker died while it wrote down one more: the others are not lost with it."""
    for _ in range(5):
        table.record(REPORT, REQUEST, 500)
    table._words[0][0] = sequence

    assert [error.count for error in listed(table).errors] == [5]


def test_closing_gives_everything_back() -> None:
    """A supervisor makes one for each worker; what is none is not attached."""
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        table = ErrorTable.create()
        with pytest.raises(PermissionError):
            os.ftruncate(table.descriptor, 0)
        table.close()
    assert len(os.listdir("/dev/fd")) == before
    with open(os.devnull, "rb") as null, pytest.raises(ValueError, match="no error table of this version"):
        ErrorTable.attach(null.fileno())
