"""Threads and processes that the kernel does not let us start (EAGAIN, pthread_create(3) and fork(2))."""

import errno
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from flaskd.errors import ConfigError

T = TypeVar("T")

NEEDED: Final = 8
"""Threads of a supervisor, libzmq's included. libzmq aborts the process where it cannot start one."""

HINT: Final = "raise LimitNPROC= or `ulimit -u`, TasksMax= of the unit, or the container's limit of processes"


def check_threads(count: int = NEEDED) -> None:
    """Raise ConfigError if this process cannot have `count` more threads."""
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise ConfigError(
            f"flaskd needs {count} threads, and only {len(started)} can be started", hint=HINT
        ) from None
    finally:
        over.set()
        for thread in started:
            thread.join()


def explained(error: BaseException) -> ConfigError | None:
    """Return a sentence and the next step for an error that says that no thread or process can be started, else None."""
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return ConfigError("no further thread can be started", hint=HINT)
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return ConfigError("no further process can be started", hint=HINT)
    return None


async def in_thread(function: Callable[[], T]) -> T:
    """Call `function` on another thread, or on this one if no further thread can be started."""
    import asyncio  # a worker needs this module too, and no loop

    loop = asyncio.get_running_loop()
    try:
        called = loop.run_in_executor(None, function)
    except RuntimeError as error:
        if explained(error) is None:
            raise
        return function()
    return await called
