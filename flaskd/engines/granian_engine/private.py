"""The private names of granian that this engine uses, and a check that they are still what they were.

granian has no public way to be given a socket. These names and their parameters changed in each of its minor releases so far.
What has to be known of them (granian 2.8, src/serve.rs and src/net.rs):

- `SocketHolder` becomes the owner of its descriptor and calls listen(2) again, so it gets the backlog.
- `serve_mtr`, for Unix sockets `serve_mtr_uds`, returns at once: a runtime thread accepts and speaks HTTP, up to `py_threads`
  others bring requests.
- `WorkerSignal.set` asks for the end; its callback says that all connections have ended. That call can get lost (a condition
  variable is waited for without a look at its predicate).
- The event loop is asked to call back what waits for a future, at once or soon; none runs: `_AtOnce`.
- A panic anywhere in it aborts the process. One is certain if the listener has stopped being one before the runtime's thread
  has looked at it, so `begin` returns only when that has happened. Another is a certificate or key that rustls cannot use:
  `certificate` checks for those.
- Out of descriptors it calls accept(2) again and again (from 2.8.9 on, every half second), and logs each failure.
- It speaks ASGI with us: it calls a scheduler's `_schedule_fn` with a "watcher" of each request, which has its `scope` and its
  `proto` (see `exchange`). It ignores what that function raises, and would leave the error behind in the thread.
- The same `py_threads` that bring requests bring the results of futures: one of them has to be free (see `run_queue`).

HTTP/1 only: over HTTP/2 granian drops `Connection: close` and sends no GOAWAY, so clients could not be asked to leave.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from flaskd.engines.choice import SUPPORTED, granian_lacks
from flaskd.engines.granian_engine import epoll, native_threads
from flaskd.engines.protocol import Options
from flaskd.errors import ConfigError, FlaskdError

PRIVATE: Final = {
    "granian._granian:SocketHolder": "fd uds backlog",
    "granian._granian:WorkerSignal": "",
    "granian._granian:WorkerSignal.set": "self",
    "granian._granian:WorkerSignal.add_cb": "self cb",
    "granian._granian:ASGIWorker": (
        "worker_id sock ipc threads blocking_threads py_threads py_threads_idle_timeout backpressure http_mode http1_opts "
        "http2_opts websockets_enabled static_files ssl_enabled ssl_cert ssl_key ssl_key_password ssl_protocol_min ssl_ca "
        "ssl_crl ssl_client_verify metrics"
    ),
    "granian._granian:ASGIWorker.serve_mtr": "self callback event_loop signal",
    "granian._granian:ASGIWorker.serve_mtr_uds": "self callback event_loop signal",
    "granian.http:HTTP1Settings": "header_read_timeout keep_alive max_buffer_size pipeline_flush",
    "granian._granian:CallbackScheduler": "event_loop cb aio_task aio_tenter aio_texit",
}
"""Each name we use and its parameters, in the supported release."""

EXTENSION: Final = "granian._granian"

IDLE_THREAD: Final = 30  # seconds until a thread that has nothing to do ends; granian's own default
BEGIN_WITHIN: Final = 10.0  # seconds


def probe(version: str | None = None) -> str:
    """Return granian's version; raise ConfigError if it is not installed or its private names differ from what stands here."""
    try:
        version = version or importlib.metadata.version("granian")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("granian is not installed", hint="pip install 'flaskd[granian]'") from None
    hint = f"pip install 'flaskd[granian]' (granian {SUPPORTED}), or choose --engine werkzeug"
    if not version.startswith(f"{SUPPORTED}."):
        raise ConfigError(
            f"granian {version} is installed, and {SUPPORTED} is what this engine knows", hint=hint
        )
    if lacks := granian_lacks():
        raise ConfigError(
            f"granian cannot run here ({lacks})", hint="choose --engine waitress, or --engine werkzeug"
        )
    for name, expected in PRIVATE.items():
        try:
            with _without_its_server():
                seen = " ".join(inspect.signature(_find(name)).parameters)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise ConfigError(f"granian {version} is not as known: no {name} ({error})", hint=hint) from None
        if seen != expected:
            raise ConfigError(
                f"granian {version} is not as known: {name} takes ({seen}), not ({expected})", hint=hint
            )
    return version


@functools.cache
def probed() -> str:
    """Return what `probe` returns, which takes some milliseconds the first time. A forked worker has it already."""
    return probe()


@contextlib.contextmanager
def _without_its_server() -> Iterator[None]:
    """Let modules of granian be imported without the package's `__init__`.

    That imports granian's own server, with asyncio, multiprocessing and watchfiles: 20 ms and 5 MB, which nobody here needs. An
    application that imports granian gets all of it. (Its extension module stays imported: a process can have it once.)
    """
    spec = None if "granian" in sys.modules else importlib.util.find_spec("granian")
    if spec is None:
        yield
        return
    sys.modules["granian"] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "granian"]:
            if name != EXTENSION:
                del sys.modules[name]


@functools.cache
def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def begin(
    descriptor: int,
    call: Callable[[Any], None],
    options: Options,
    *,
    unix: bool,
    connections: int,
    on_thread: Callable[[], object],
    on_exhausted: Callable[[], None],
    on_end: Callable[[], None],
) -> Callable[[], None]:
    """Serve on the listening socket `descriptor`, which granian then owns; returns the function that asks for the end.

    At most `connections` are accepted at a time. granian's threads call `call` with the watcher of each request, which must not
    raise, and `on_thread` when they bring something else; `on_exhausted` if there was no descriptor for a connection; and
    `on_end` when all connections have ended. Returns when it accepts; raises FlaskdError if it does not.
    """

    def ended() -> None:
        _exhausted.discard(on_exhausted)
        on_end()

    _listen_to_log(on_exhausted)
    before = runtime_threads()
    signal = _find("granian._granian:WorkerSignal")()
    signal.add_cb(ended)
    holder = _find("granian._granian:SocketHolder")(descriptor, unix, options.backlog)
    worker = _worker(holder, options, connections)
    loop = _AtOnce(on_thread)
    scheduler = _find("granian._granian:CallbackScheduler")(loop, call, None, None, None)
    scheduler._schedule_fn = call
    serve = worker.serve_mtr_uds if unix else worker.serve_mtr
    serve(scheduler, loop, signal)
    _wait_until_accepting(descriptor, before)
    end: Callable[[], None] = signal.set
    return end


def _worker(holder: Any, options: Options, connections: int) -> Any:
    tls = options.tls
    settings = _find("granian.http:HTTP1Settings")(
        header_read_timeout=max(1, int(options.head_timeout * 1000)),
        keep_alive=True,
        max_buffer_size=options.max_head,
    )
    return _find("granian._granian:ASGIWorker")(
        worker_id=1,
        sock=(None, holder),
        ipc=None,
        threads=1,
        blocking_threads=1,
        py_threads=options.threads + 1,  # one is always free: see `RunQueue`
        py_threads_idle_timeout=IDLE_THREAD,
        backpressure=connections,
        http_mode="1",
        http1_opts=settings,
        http2_opts=None,
        websockets_enabled=False,
        static_files=None,
        ssl_enabled=tls is not None,
        ssl_cert=tls.certificate if tls else None,
        ssl_key=tls.key if tls else None,
        ssl_protocol_min="tls1.2",
        metrics=(None, None),
    )


class _AtOnce:
    """What granian needs of an event loop; it calls back at once, on the calling thread."""

    def __init__(self, on_thread: Callable[[], object]) -> None:
        self._on_thread = on_thread

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> None:
        self._on_thread()
        callback(*args)

    call_soon_threadsafe = call_soon


def _wait_until_accepting(descriptor: int, before: set[int]) -> None:
    """Wait until the runtime has the listener in its epoll set and its thread sleeps again. It polls: there is no event."""
    if not epoll.LINUX:
        return
    deadline = time.monotonic() + BEGIN_WITHIN
    while True:
        watched = any(True for _ in epoll.sets_with(descriptor))
        if watched and all(map(_asleep, runtime_threads() - before)):
            return
        if time.monotonic() > deadline:
            raise FlaskdError(f"granian did not begin to accept within {BEGIN_WITHIN:g} s")
        time.sleep(0.0005)


def runtime_threads() -> set[int]:
    """Return the ids of the threads that granian's runtimes have in this process (Linux; elsewhere none)."""
    found = set()
    for thread in native_threads.alive():
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm", "rb") as comm:
            if comm.read().startswith(b"tokio"):
                found.add(thread)
    return found


def _asleep(thread: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/stat", "rb") as status:
        return status.read().rpartition(b")")[2].split()[0] == b"S"
    return True


_exhausted: set[Callable[[], None]] = set()
"""Callbacks for when granian finds no descriptor."""


def _listen_to_log(on_exhausted: Callable[[], None]) -> None:
    """Keep granian's "Started worker-1" out of our output, unless its logger was configured; notice EMFILE."""
    logger = logging.getLogger("_granian")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    _exhausted.add(on_exhausted)
    accepting = logger.getChild("workers")
    accepting.setLevel(logging.DEBUG)
    accepting.addFilter(_filter)


def _filter(record: logging.LogRecord) -> bool:
    if "TooManyOpenFiles" in record.getMessage():
        for callback in list(_exhausted):
            callback()
    return record.levelno >= logging.getLogger("_granian").getEffectiveLevel()
