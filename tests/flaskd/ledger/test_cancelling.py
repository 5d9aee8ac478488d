"""Cancelling a request: it arrives in the application's code or not at all, at whichever bytecode it is sent."""

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from flaskd.http import cancelling
from flaskd.http.cancelling import Cancellation, RequestCancelled, shielded
from flaskd.ledger import middleware
from flaskd.ledger.middleware import Ledger, find
from tests.flaskd.conftest import WAIT
from tests.support.extent import FULL

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
GUARDED = {middleware.__file__, cancelling.__file__}
"""Files whose bytecodes are the ones between the engine and the application."""

STEPS = (0, 1, 2, 3, 5, 8, 13, None) if FULL else (0, 1, None)
LATER = [(send, arrive) for send in STEPS for arrive in STEPS]
"""How many bytecodes later the exception is sent, and how many after that it arrives."""


class Body:
    """A body in two parts, which notes whether it was closed."""

    def __init__(self) -> None:
        self.closed = 0
        self._parts = iter([b"a", b"b"])

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._parts)

    def close(self) -> None:
        self.closed += 1


def plain(environ: Any, start_response: Any) -> Body:
    start_response("200 OK", [])
    return Body()


def writing(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])(b"a")
    return [b"b"]


def failing(environ: Any, start_response: Any) -> list[bytes]:
    raise ValueError("an error of its own")


def generating(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield b"a"
    yield b"b"


class Engine:
    """Serves a request as an engine does. Nothing of its own code may be hit: that is an exception without a second frame."""

    def __init__(self, app: Any) -> None:
        self.ledger = Ledger(app, lambda: None)
        self.sent: list[bytes] = []
        self.interrupted: list[BaseException] = []

    def serve(self) -> str:
        """Return "answered", "cancelled" or "failed"."""
        self.sent.clear()
        outcome = "answered"
        try:
            body = self.ledger(dict(ENVIRON), lambda *_: self.send)
            try:
                for part in body:
                    self.send(part)
            finally:
                body.close()  # type: ignore[attr-defined]
        except ValueError:
            outcome = "failed"
        except RequestCancelled as error:
            outcome = "cancelled"
            trace = error.__traceback__
            while trace is not None:
                last, trace = trace.tb_frame, trace.tb_next
            if last.f_code.co_filename == __file__ and last.f_code.co_name in {"serve", "send"}:
                self.interrupted.append(error)
        for _ in range(50):  # what is left pending would arrive here
            self._idle()
        return outcome

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def _idle(self) -> None:
        pass


class Interleaving:
    """Runs a request and its cancellation in a given order, bytecode by bytecode.

    Before bytecode `begin` of ours, another thread begins to cancel. Where it is about to send the exception, it waits until
    bytecode `send`, or until the request waits for it. What it has sent arrives before bytecode `arrive`, if it is not taken
    back by then. (None: not before it must.) In the engine's code nothing may be pending.
    """

    def __init__(self, engine: Engine, begin: int, send: int | None, arrive: int | None) -> None:
        self._engine = engine
        self._begin, self._send, self._arrive = begin, send, arrive
        self._count = 0
        self.request: Any = None
        self._thread: threading.Thread | None = None
        self._paused = threading.Semaphore(0)  # released when the other thread waits, and when it ends
        self._sending = False
        self._go_on = threading.Event()
        self._pending: type[BaseException] | None = None
        self.begun = False
        self.astray = ""

    def run(self) -> str:
        """Serve one request; return the outcome."""
        # On a thread of its own: what a trace function raises in the middle of an `except` leaves traces in the thread.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._run).result(2 * WAIT)

    def _run(self) -> str:
        serving = threading.get_ident()
        ours = self

        class Deciding:
            """The lock of that name, as it is: who waits for it lets the other thread go on."""

            def __init__(self) -> None:
                self._lock = threading.RLock()

            def acquire(self) -> None:
                if threading.get_ident() == serving:
                    ours._let_go_on()
                self._lock.acquire()

            def __enter__(self) -> None:
                self._lock.acquire()

            def __exit__(self, *_: object) -> None:
                self._lock.release()

        made = cancelling.Cancellation.__init__

        def make(cancellation: Cancellation) -> None:
            made(cancellation)
            cancellation.deciding = Deciding()  # type: ignore[assignment]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cancelling, "_set_async_exc", self._sent)
            patch.setattr(cancelling, "_clear_async_exc", self._cleared)
            patch.setattr(Cancellation, "__init__", make)
            sys.settrace(self._trace)
            try:
                outcome = self._engine.serve()
            finally:
                sys.settrace(None)
                self._go_on.set()
                if self._thread is not None:
                    self._thread.join(WAIT)
        if self._pending is not None:
            self.astray = self.astray or "sent after the end"
        return outcome

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        engine = file == __file__ and name in {"serve", "_idle", "send"}
        if file not in GUARDED and not engine:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if engine:
                if self._pending is not None and not self.astray:
                    self.astray = f"pending in the engine's code, line {frame.f_lineno}"
            else:
                self._step()
        return self._trace

    def _step(self) -> None:
        self._count += 1
        if self._count == self._begin:
            rows = self._engine.ledger.table.requests()
            self.request = find(self._engine.ledger, rows[0].id) if rows else None
            self.begun = True
            if self.request is not None:
                self._thread = threading.Thread(target=self._cancel)
                self._thread.start()
                assert self._paused.acquire(timeout=WAIT)
        if self._send is not None and self._count == self._send:
            self._let_go_on()
        if self._pending is not None and self._arrive is not None and self._count >= self._arrive:
            kind, self._pending = self._pending, None
            raise kind

    def _cancel(self) -> None:
        self.request.cancel()
        self._paused.release()

    def _let_go_on(self) -> None:
        """Let the other thread send the exception, if it is about to."""
        if self._sending and not self._go_on.is_set():
            self._go_on.set()
            assert self._paused.acquire(timeout=WAIT)

    def _sent(self, thread: int, kind: type[BaseException]) -> None:
        self._sending = True
        self._paused.release()
        assert self._go_on.wait(WAIT)
        self._pending = kind

    def _cleared(self, thread: int, nothing: None) -> None:
        self._pending = None


@pytest.mark.timeout(900 if len(STEPS) > 3 else 120)
@pytest.mark.parametrize("app", [plain, writing, failing, generating])
def test_a_cancellation_arrives_in_the_application_or_not_at_all(app: Any) -> None:
    """In whatever order the two go: the request is answered or cancelled, nothing is left pending, the next one is not hit."""
    engine = Engine(app)
    normal = "failed" if app is failing else "answered"
    outcomes: set[str] = set()
    Interleaving(engine, 0, None, None).run()  # Python 3.12 traces bytecodes from the second run on
    for begin in range(1, 5000):
        for send, arrive in LATER:
            order = (
                begin,
                None if send is None else begin + send,
                None if arrive is None else begin + (send or 0) + arrive,
            )
            interleaving = Interleaving(engine, *order)
            outcome = interleaving.run()
            if not interleaving.begun:
                assert begin > 50
                assert outcomes == {"cancelled", normal}
                return
            if interleaving.request is None:
                break  # it is not in the ledger yet
            outcomes.add(outcome)
            assert not interleaving.astray, f"{order}: {interleaving.astray}"
            assert not engine.interrupted, f"{order}: the engine was hit"
            assert outcome in {"cancelled", normal}
            if outcome == "answered":
                assert engine.sent == [b"a", b"b"]
            assert engine.ledger.table.in_flight == 0
    pytest.fail("the request never ended")


def test_a_body_that_is_cancelled_is_closed() -> None:
    """Also if the exception comes just when the application has returned it (PEP 3333)."""
    body = Body()

    class Late(Cancellation):
        def take_back(self) -> None:
            if not self.raised:
                raise self.kind

    def app(environ: Any, start_response: Any) -> Body:
        cancelling.current.request.cancellation = Late()
        return body

    assert Engine(app).serve() == "cancelled"
    assert body.closed == 1

    engine = Engine(plain)
    streaming: Any = engine.ledger(dict(ENVIRON), lambda *_: engine.send)
    body = streaming.body
    streaming.cancel()
    with pytest.raises(RequestCancelled):
        next(iter(streaming))
    streaming.close()
    assert body.closed == 1


def spinning(entered: threading.Event) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        entered.set()
        while True:
            pass

    return app


def test_a_request_that_spins_is_cancelled() -> None:
    """The canceller is told that it was, and the ledger has it as an error of status 503."""
    entered = threading.Event()
    engine = Engine(spinning(entered))
    with ThreadPoolExecutor(1) as thread:
        served = thread.submit(engine.serve)
        assert entered.wait(WAIT)
        request = find(engine.ledger, 1)
        assert request is not None
        assert request.wait_cancelled(WAIT) == "cancelled"
        assert served.result(WAIT) == "cancelled"
        assert find(engine.ledger, 1) is None
    (error,) = engine.ledger.errors.recorded()
    assert (error.group().exception, error.group().status) == ("flaskd.RequestCancelled", 503)


def test_an_application_that_catches_exceptions_does_not_swallow_it() -> None:
    """RequestCancelled is no Exception; one that is caught all the same is not raised again."""
    again = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            cancelling.current.request.cancel()
            for _ in range(1000):
                pass
        except Exception:  # noqa: BLE001 - an application may
            again.append("Exception")
        return []

    def stubborn(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        try:
            cancelling.current.request.cancel()
            for _ in range(1000):
                pass
        except BaseException:  # noqa: BLE001 - an application may
            again.append("BaseException")
        write(b"a")
        return [b"b"]

    assert Engine(app).serve() == "cancelled"
    assert Engine(stubborn).serve() == "answered"
    assert again == ["BaseException"]


def test_why_a_request_goes_on_is_told() -> None:
    """It has the exception, is in C code, or is not in the application at all."""
    entered, go_on = threading.Event(), threading.Event()

    def wait(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        entered.set()
        go_on.wait(WAIT)
        return []

    def shield(environ: Any, start_response: Any) -> list[bytes]:
        with shielded():
            return wait(environ, start_response)

    def clean_up(environ: Any, start_response: Any) -> list[bytes]:
        try:
            cancelling.current.request.cancel()
            for _ in range(1000):
                pass
        finally:
            wait(environ, start_response)
        return []

    for app, why, outcome in (
        (wait, "in C", "cancelled"),
        (shield, "elsewhere", "cancelled"),
        (clean_up, "handling", "cancelled"),
    ):
        entered.clear()
        go_on.clear()
        engine = Engine(app)
        with ThreadPoolExecutor(1) as thread:
            served = thread.submit(engine.serve)
            assert entered.wait(WAIT)
            request = find(engine.ledger, 1)
            assert request is not None
            assert request.wait_cancelled(0.05) == why
            assert not served.done()
            go_on.set()
            assert served.result(WAIT) == outcome
            assert request.wait_cancelled(WAIT) == "cancelled"


def test_a_second_cancellation_joins_the_first() -> None:
    """Each request is sent one exception in its life."""
    engine = Engine(plain)
    body: Any = engine.ledger(dict(ENVIRON), lambda *_: engine.send)
    assert body.cancel() is body.cancel()
    body.close()
    assert body.cancel().over.is_set()


def test_one_that_ends_first_is_answered() -> None:
    """Nothing was cancelled."""
    engine = Engine(plain)
    body: Any = engine.ledger(dict(ENVIRON), lambda *_: engine.send)
    found = find(engine.ledger, 1) is body
    assert found
    body.close()
    assert body.wait_cancelled(WAIT) == "answered"
