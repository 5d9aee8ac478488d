"""One worker's requests in memory that other processes can read, whatever happens to the worker.

The memory is divided into blocks of 1 KiB:

    block 0      eight words: number of the last error; requests in flight that found no free row; counts of those. Then
                 a mark for the format, and the notification flag, a byte
    block 1, 2   the last error and the one before it: a new error is written over the older one, then made current
    block 3 …    rows, one for each request

Requests take no lock: each row has its own counts, and readers add them up.
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from flaskd.ledger.row import COUNTS, KINDS, LARGEST, NUMBER, ROUTED, ROW_SIZE, TEXT, TRIES, Row, decode_field
from flaskd.process.shared_memory import Format, SharedMemory, SharedTable
from flaskd_ctl.protocol import InFlight, LastError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_HEADER: Final = 3  # blocks before the first row
_WORDS: Final = ROW_SIZE // 8  # words in a block
_ERRORS, _OVERFLOW = 0, 1  # words of block 0
_FORMAT: Final = Format("request table", b"flaskd requests 4", mark_at=TEXT, unit=ROW_SIZE)
_NOTIFY: Final = TEXT + 32  # offset of the flag; 1: the next request calls `on_next_request`
_ERROR: Final = struct.Struct("=d136s408s408s")  # at, request id, request, message
assert TEXT + _ERROR.size == ROW_SIZE


class RequestTable(SharedTable):
    """The requests of one worker: those in flight, counts of finished ones, and the last error.

    There is a row for each request at a time. One process begins requests; any process may read. `on_next_request` is called in
    the first one, once for each `notify_on_next_request`.
    """

    form = _FORMAT
    head = _HEADER * ROW_SIZE
    entry = ROW_SIZE

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__(memory)
        self._bytes = memory.bytes
        self._words = memory.words
        self._free: deque[Row] = deque()
        starts = range(_HEADER * ROW_SIZE, len(self._bytes), ROW_SIZE)
        self._rows = [Row(self._bytes[start : start + ROW_SIZE], self._free) for start in starts]
        self._free.extend(reversed(self._rows))  # taken from the end: the few in use stay in the cache
        self._overflow: set[Row] = set()
        self.on_next_request: Callable[[], None] = lambda: None
        self._lock = threading.Lock()  # protects writes to blocks 0 to 2, and _overflow

    @property
    def rows(self) -> int:
        """How many requests at a time have a row, with which others see them."""
        return len(self._rows)

    def close(self) -> None:
        """Release the memory; this object cannot be used afterwards. Other processes keep theirs."""
        for row in self._rows:
            row.release()
        super().close()

    def begin(self, number: int, request_id: str, environ: "WSGIEnvironment") -> Row:
        """Record a request that enters the application now. `number` is above 0 and was never used in this table."""
        try:
            row = self._free.pop()
        except IndexError:
            row = _OverflowRow(self)
        row.begin(number, request_id, environ)
        if self._bytes[_NOTIFY]:
            self._bytes[_NOTIFY] = 0
            self.on_next_request()
        return row

    def notify_on_next_request(self) -> None:
        """Have the worker call `on_next_request` when its next request begins, so that nobody has to poll for one."""
        self._bytes[_NOTIFY] = 1

    def record_error(self, message: str, request: InFlight) -> None:
        """Make `message`, which belongs to `request`, the last error."""
        texts = (request.request_id, f"{request.method} {request.path}", message)
        encoded = [text.encode("utf-8", "replace") for text in texts]
        with self._lock:
            number = self._words[_ERRORS] + 1
            _ERROR.pack_into(self._bytes, _error_at(number), time.time(), *encoded)
            self._words[_ERRORS] = number

    def owner_of(self, number: int) -> Any:
        """Return the `owner` of the row with this request; None if it has ended. In the process that serves it."""
        for row in (*self._rows, *self._overflow.copy()):
            if row.number == number:
                owner = row.owner
                if row.number == number:  # else the owner may be another request's
                    return owner
        return None

    @property
    def in_flight(self) -> int:
        """How many requests the application has begun and not finished."""
        numbers = self._words[_HEADER * _WORDS + NUMBER :: _WORDS].tolist()
        return min(len(numbers) - numbers.count(0) + self._words[_OVERFLOW], LARGEST)

    def requests(self) -> list[InFlight]:
        """List the requests in flight, oldest first. Another process's overflow appears only in `in_flight`."""
        now = time.monotonic()
        found = [row.snapshot(now) for row in (*self._rows, *self._overflow)]
        return sorted((request for request in found if request), key=lambda request: request.id)

    def version(self) -> tuple[list[int], list[int], int]:
        """Return what differs once a request begins, is routed or ends; it costs less than to look at each."""
        first = _HEADER * _WORDS
        return (
            self._words[first + NUMBER :: _WORDS].tolist(),
            self._words[first + ROUTED :: _WORDS].tolist(),
            self._words[_OVERFLOW],
        )

    def serving(self) -> dict[int, tuple[int, str]]:
        """Return the number and the endpoint of each request in flight, by its thread's identifier; "" where it has none."""
        numbers = self._words[_HEADER * _WORDS + NUMBER :: _WORDS].tolist()
        rows = [row for row, number in zip(self._rows, numbers, strict=True) if number]
        found = [row.serves() for row in (*rows, *self._overflow)]
        return {ident: (number, endpoint) for number, ident, endpoint in filter(None, found)}

    def served(self) -> dict[str, int]:
        """Count finished requests by status class."""
        return {
            kind: min(sum(self._words[word::_WORDS].tolist()), LARGEST)
            for word, kind in enumerate(KINDS, COUNTS)
        }

    def finished(self) -> int:
        """Count all finished requests."""
        return sum(self.served().values())

    @property
    def last_error(self) -> LastError | None:
        """The newest exception that left the application, or answer of 500 or above."""
        found = b""
        for _ in range(TRIES):
            number = self._words[_ERRORS]
            if not number:
                return None
            at = _error_at(number)
            found = bytes(self._bytes[at : at + _ERROR.size])
            if self._words[_ERRORS] == number:
                break
        when, request_id, request, message = _ERROR.unpack(found)
        return LastError(
            at=when if 0 <= when <= LARGEST else 0.0,
            message=decode_field(message),
            request=decode_field(request),
            request_id=decode_field(request_id),
        )


class _OverflowRow(Row):
    """A row outside the memory, for a request that found no free one: other processes count it but cannot describe it."""

    __slots__ = ("_table",)

    def __init__(self, table: RequestTable) -> None:
        super().__init__(memoryview(bytearray(ROW_SIZE)), deque())
        self._table = table
        with table._lock:
            table._overflow.add(self)
            table._words[_OVERFLOW] += 1

    def end(self, kind: int) -> None:
        table = self._table
        with table._lock:
            table._words[COUNTS + kind] += 1
            table._words[_OVERFLOW] -= 1
            table._overflow.discard(self)


def _error_at(number: int) -> int:
    return (1 + number % 2) * ROW_SIZE + TEXT
