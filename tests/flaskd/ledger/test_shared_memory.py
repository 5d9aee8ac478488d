"""The table: what one process writes, others read, whatever has become of the writer and whatever it has written."""

import _thread
import contextlib
import faulthandler
import gc
import mmap
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from flaskd.ledger.row import KINDS, ROW_SIZE, Row, decode_field
from flaskd.ledger.shared_memory import RequestTable
from flaskd_ctl.protocol import InFlight, LastError
from tests.flaskd.conftest import WAIT

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/caf\xc3\xa9", "SCRIPT_NAME": "/shop", "REMOTE_ADDR": "::1"}

WRITER = """
import sys, flaskd.ledger.shared_memory
table = flaskd.ledger.shared_memory.RequestTable.attach(int(sys.argv[1]))
for number in (1, 2):
    row = table.begin(number, f"id-{number}", {"REQUEST_METHOD": "PUT", "PATH_INFO": f"/{number}"})
row.route("pay", "/<number>")
table.begin(3, "id-3", {}).end(1)
table.record_error("KeyError: 'k'", table.requests()[0])
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def table() -> Iterator[RequestTable]:
    made = RequestTable.create(4)
    with contextlib.closing(made):
        yield made


@contextlib.contextmanager
def writing(table: RequestTable) -> Iterator["subprocess.Popen[str]"]:
    """A process that has adopted the table, and written two requests in flight, one finished and an error."""
    command = [sys.executable, "-c", WRITER, str(table.descriptor)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, pass_fds=[table.descriptor], stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "written\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("fate", [signal.SIGSTOP, signal.SIGKILL])
def test_the_requests_of_a_worker_outlive_it(table: RequestTable, fate: signal.Signals) -> None:
    """Stopped or killed, it need not answer: they are in the reader's memory, too."""
    with writing(table) as process:
        process.send_signal(fate)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        first, second = table.requests()
        assert (first.id, first.method, first.path, first.rule) == (1, "PUT", "/1", None)
        assert (second.endpoint, second.rule, second.request_id) == ("pay", "/<number>", "id-2")
        assert 0 <= second.age <= first.age < WAIT  # one clock for both processes
        assert (table.in_flight, table.finished(), table.served()["2xx"]) == (2, 1, 1)
        error = table.last_error
        assert error is not None
        assert (error.message, error.request, error.request_id) == ("KeyError: 'k'", "PUT /1", "id-1")
        assert abs(error.at - time.time()) < WAIT


def test_no_memory_is_taken_from_under_a_reader(table: RequestTable) -> None:
    """Who reads beyond the end of a file gets SIGBUS: the worker cannot shorten it."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("sealing is Linux's")
    with pytest.raises(PermissionError):
        os.ftruncate(table.descriptor, ROW_SIZE)
    assert not os.get_inheritable(table.descriptor)


def test_where_memory_has_no_descriptors_a_file_without_a_name_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Elsewhere than on Linux."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with contextlib.closing(RequestTable.create(1)) as table:
        table.begin(1, "x", ENVIRON)
        descriptor = os.dup(table.descriptor)
        os.set_inheritable(descriptor, True)
        with contextlib.closing(RequestTable.attach(descriptor)) as reader:
            assert reader.in_flight == 1
            assert not os.get_inheritable(descriptor)  # what the application starts has no business with it
        assert os.fstat(table.descriptor).st_nlink == 0


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"x" * ROW_SIZE * 5])
def test_what_is_no_request_table_is_not_attached(content: bytes, tmp_path: Path) -> None:
    """Nor one of another version, which has another mark; the descriptor stays its owner's."""
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("r+b") as file:
        with pytest.raises(ValueError, match="no request table of this version"):
            RequestTable.attach(file.fileno())
        assert file.read() == content


def test_a_private_table_has_nothing_to_give_away() -> None:
    """It is plain memory of this process."""
    with pytest.raises(ValueError, match="no descriptor"):
        _ = RequestTable.private(1).descriptor


@given(
    st.binary(min_size=1, max_size=64),
    st.integers(0, 7 * ROW_SIZE),
    st.integers(1, 7 * ROW_SIZE),
    st.booleans(),
)
@settings(max_examples=300)
def test_whatever_a_worker_writes_can_be_read(pattern: bytes, start: int, length: int, used: bool) -> None:
    """It runs the application, and may have been taken over: any bytes give a bounded answer that JSON can carry."""
    with contextlib.closing(RequestTable.create(4)) as table:
        if used:
            table.begin(1, "id", ENVIRON).route("e", "/r")
            table.record_error("oops", table.requests()[0])
        with mmap.mmap(table.descriptor, 7 * ROW_SIZE) as memory:
            end = min(start + length, len(memory))
            memory[start:end] = (pattern * (length // len(pattern) + 1))[: end - start]
        requests, served, error = table.requests(), table.served(), table.last_error
        assert msgspec.json.decode(msgspec.json.encode(requests), type=list[InFlight]) == requests
        assert msgspec.json.decode(msgspec.json.encode(error), type=LastError | None) == error
        assert len(requests) <= 4
        assert all(0 <= count < 2**53 for count in (table.in_flight, *served.values()))
        shown = [error.message, error.request] if error else []
        for request in requests:
            assert 0 <= request.age < time.monotonic() + 1
            shown += [request.path, request.method, request.client, request.thread, request.rule or ""]
        assert all(text.isprintable() and len(text) < 12 * ROW_SIZE for text in shown)


def test_a_reader_never_sees_half_a_request(table: RequestTable) -> None:
    """It looks while a row changes hands as fast as it can: each request is shown as it was, or not at all."""
    over = threading.Event()

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            text = str(number)
            row = table.begin(number, text, {"REQUEST_METHOD": text, "PATH_INFO": text, "REMOTE_ADDR": text})
            row.route(text, text)
            row.end(1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = 0
        while seen < 200:
            for it in table.requests():
                seen += 1
                assert {it.method, it.path, it.client, it.request_id} == {str(it.id)}
                assert it.rule in {None, str(it.id)}
                assert it.endpoint == it.rule
    finally:
        over.set()
        writer.join(WAIT)


def test_a_row_that_changes_hands_at_every_look_is_passed_over() -> None:
    """A worker that makes it look so cannot hold up whoever reads."""

    class Restless:
        def __init__(self) -> None:
            self.looks = 0

        def __getitem__(self, word: int) -> int:
            self.looks += 1
            return self.looks

    row = Row(memoryview(bytearray(ROW_SIZE)), deque())
    restless: Any = Restless()
    row._words = restless
    assert row.snapshot(time.monotonic()) is None
    assert restless.looks < 20


def test_requests_beyond_the_rows_are_kept_and_counted(table: RequestTable) -> None:
    """Streaming responses may hold all rows: their own process shows the others, another one counts them."""
    with contextlib.closing(RequestTable.attach(os.dup(table.descriptor))) as reader:
        rows = [table.begin(number, "x", ENVIRON) for number in range(1, 8)]
        rows[6].route("e", "/r")
        assert [request.id for request in table.requests()] == [1, 2, 3, 4, 5, 6, 7]
        assert table.requests()[6].rule == "/r"
        assert [request.id for request in reader.requests()] == [1, 2, 3, 4]
        assert (table.in_flight, reader.in_flight) == (7, 7)
        for kind, row in zip((0, 1, 2, 3, 4, 5, 5), rows, strict=True):
            row.end(kind)
        assert (table.in_flight, reader.in_flight, reader.requests()) == (0, 0, [])
        assert list(reader.served().values()) == [1, 1, 1, 1, 1, 2]
        assert list(reader.served()) == list(KINDS)


def test_the_route_of_one_request_is_not_the_nexts(table: RequestTable) -> None:
    """They share the row, and what is written there is not written again; it counts for whom it was found."""
    for number, route in enumerate([("e", "/r"), None, ("e", "/r"), ("f", "/r"), ("f", "/s"), None], 1):
        row = table.begin(number, "x", ENVIRON)
        if route is not None:
            row.route(*route)
        seen = table.requests()[0]
        assert (seen.endpoint, seen.rule) == (route or (None, None))
        row.end(1)


def test_the_last_error_is_the_last(table: RequestTable) -> None:
    """Each is written where the one before is not."""
    table.begin(1, "id", ENVIRON)
    request = table.requests()[0]
    for number in range(5):
        table.record_error(f"Error: {number}", request)
        error = table.last_error
        assert error is not None
        assert (error.message, error.request) == (f"Error: {number}", "GET /shop/café")
    table.record_error("x" * 5000, request)
    error = table.last_error
    assert error is not None
    assert 300 < len(error.message) < 500
    assert error.message.endswith("…")


def test_a_thread_that_python_did_not_start_is_called_as_in_its_stacks(
    table: RequestTable, tmp_path: Path
) -> None:
    """granian's are such; looking at one leaves nothing behind."""
    over, stacks = threading.Event(), tmp_path / "stacks"

    def serve() -> None:
        table.begin(1, "x", ENVIRON)
        with stacks.open("w") as file:
            faulthandler.dump_traceback(file)
        over.set()

    before = threading.enumerate()
    _thread.start_new_thread(serve, ())
    assert over.wait(WAIT)
    named = table.requests()[0].thread
    # Python 3.14 adds the name that the kernel has for it: "[python]".
    assert re.search(rf"Current {named}( \[.+\])? \(most recent call first\)", stacks.read_text())
    assert threading.enumerate() == before


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (
            b"/a\x1b[2J\nflaskd: stopped Gr\xc3\xbc\xc3\x9fe\xc2\x9b\0\0",
            "/a%1B[2J%0Aflaskd: stopped Grüße%C2%9B",
        ),
        (b"\xff\xc3\0", "\ufffd\ufffd"),
        (b"abcd", "abc…"),
        (b"abc\xc3", "abc…"),
        (b"", ""),
    ],
)
def test_a_path_cannot_write_on_the_operators_terminal(field: bytes, text: str) -> None:
    """Line ends would fake lines of the log, escape sequences move its cursor; what is no text is shown as such."""
    assert decode_field(field) == text


def test_closing_gives_everything_back() -> None:
    """A supervisor makes one for each worker."""
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        table = RequestTable.create(2)
        table.begin(1, "x", ENVIRON).end(1)
        table.close()
        table.close()
    del table
    gc.collect()
    assert len(os.listdir("/dev/fd")) == before
