"""Ends the request of one thread with an exception, and nothing else that the thread does.

`PyThreadState_SetAsyncExc` has a thread raise an exception at its next bytecode. It knows nothing of requests: if the request
ends first, the exception comes into the engine, or into the next request. So each request says when its thread is in the
application's code (`inside`), and takes back an exception that has not arrived when it leaves. That costs the request two
stores and a comparison; only one that is being cancelled waits for who cancels it.

    the request, leaving                       who cancels, holding `deciding`
    1  inside = 0                              1  request.cancellation = …
    2  if cancellation is not None:            2  if request.inside:
    3      wait for `deciding`                 3      send the exception
    4      take the exception back             4  release `deciding`

Bytecodes of different threads have one order (the GIL). If the sender's 2 comes before the request's 1, the request sees the
cancellation in its 2, waits until the exception is sent, and takes it back. Otherwise the sender finds that the request has
left, and sends nothing. What is sent may arrive while the request leaves, at any bytecode of these lines, so whoever calls
`leave` does it again when an exception comes out of it. That is enough: each request is sent one exception in its life. There
is no loop in these lines: an exception that arrives at a jump backward may pass the `try` around it (CPython 3.11 to 3.13).

`deciding` is never released by the request, and nobody else wants it afterwards. `with` would not do: from Python 3.14 on, an
exception can arrive between the call of `__enter__` and the block, and the lock would stay taken.

While the application runs code of the engine's (a read of `wsgi.input`, a call of `write`), its request is not `inside`
(`shielded`): a piece that was half sent or half read would break the connection. A cancellation that comes meanwhile is raised
when the application goes on. So is one that comes while the engine sends a part of a streamed body.
"""

import ctypes
import threading
import time
from _thread import get_ident
from typing import Any, ClassVar, Final

GRACE: Final = 1.0
"""Seconds that a cancelled request gets to leave the application, before whoever cancels is told that it has not."""

_set_async_exc: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
_clear_async_exc: Final = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)


class RequestCancelled(BaseException):
    """An operator has cancelled the request (`flaskd_ctl cancel`).

    It is no Exception, so that `except Exception` does not swallow it. An application that catches it should clean up and raise
    it again. The client gets a 503, or sees the response break off.
    """

    __module__ = "flaskd"  # where applications find it
    code: ClassVar[int] = 503
    description: ClassVar[str] = "The request was cancelled."


class Cancellation:
    """The order to cancel one request.

    `kind` is the exception that the request is sent: a class of its own, so that no other one is taken for it. `raised` tells
    whether it has arrived, `left` whether it has left the application; `over` is set when the request has ended.
    """

    def __init__(self) -> None:
        self.deciding = threading.RLock()
        self.thread = 0  # where the exception was sent to
        self.raised = False
        self.left = False
        self.over = threading.Event()
        self.kind = self._kind()

    def _kind(self) -> type[RequestCancelled]:
        def arrived(error: RequestCancelled) -> None:
            self.raised = True
            BaseException.__init__(error, "cancelled by an operator")

        names = {
            "__init__": arrived,
            "__doc__": RequestCancelled.__doc__,
            "__module__": RequestCancelled.__module__,
            "__qualname__": RequestCancelled.__qualname__,
        }
        return type(RequestCancelled.__name__, (RequestCancelled,), names)

    def take_back(self) -> None:
        """Wait for who cancels; take the exception back if it was sent and has not arrived. On the request's thread."""
        self.deciding.acquire()
        if self.thread and not self.raised:
            _clear_async_exc(self.thread, None)
            self.thread = 0


class Cancellable:
    """A request that can be cancelled.

    `inside` is the thread that runs the application's code for it, 0 while none does. `leave` and `enter` are written out where
    every request passes.
    """

    __slots__ = ("cancellation", "inside")
    inside: int
    cancellation: Cancellation | None

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        raise NotImplementedError

    def enter(self) -> None:
        """Go on with the application's code; raises RequestCancelled if the request was cancelled meanwhile."""
        self.inside = get_ident()
        if self.cancellation is not None:
            self.entered_cancelled()

    def leave(self) -> None:
        """Go on with other code than the application's. If it raises the cancellation, it must be called again."""
        self.inside = 0
        if self.cancellation is not None:
            self.cancellation.take_back()

    def entered_cancelled(self) -> None:
        """Raise the cancellation, unless it was raised before."""
        cancellation = self.cancellation
        assert cancellation is not None
        if not cancellation.raised:
            self.leave()
            raise cancellation.kind

    def cancel(self) -> Cancellation:
        """Have it end with RequestCancelled; returns at once. From any thread, but only where no cancellation can arrive."""
        with _ordering:
            if self.cancellation is not None:  # somebody else was first
                return self.cancellation
            cancellation = Cancellation()
            with cancellation.deciding:
                self.cancellation = cancellation
                if thread := self.inside:
                    cancellation.thread = thread
                    _set_async_exc(thread, cancellation.kind)
            if self.ended:
                cancellation.over.set()
            return cancellation

    def wait_cancelled(self, timeout: float = GRACE) -> str:
        """Cancel it; return "cancelled" or "answered" when it has ended, after `timeout` seconds why it has not."""
        cancellation = self.cancel()
        deadline = time.monotonic() + timeout
        if cancellation.over.wait(max(0.0, deadline - time.monotonic())):
            return "cancelled" if cancellation.left else "answered"
        if cancellation.raised:
            return "handling"
        return "in C" if self.inside else "elsewhere"


_ordering: Final = threading.Lock()
"""Held while a request gets its cancellation: it gets one."""


class _Current(threading.local):
    """The request that each thread began last."""

    request: Any = None


current: Final = _Current()
"""The request that each thread began last, as `request`; None if it is the first."""


class shielded:  # noqa: N801 - used like a function
    """A context manager for code of flaskd's that the application calls: no cancellation arrives in the block."""

    __slots__ = ("_request",)

    def __enter__(self) -> None:
        request = current.request
        self._request = request if request is not None and request.inside == get_ident() else None
        if self._request is not None:
            self._request.leave()

    def __exit__(self, *_: object) -> None:
        if self._request is not None:
            self._request.enter()
