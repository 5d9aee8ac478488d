"""Steps of which one may fail without keeping the next from being taken: those of a stop, above all."""

import logging
from types import TracebackType

log = logging.getLogger("flaskd")

_said: set[str] = set()


class _Step:
    """See `log_failure`."""

    def __init__(self, step: str, said: set[str] | None) -> None:
        self._step = step
        self._said = said

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        line = f"cannot {self._step}: {str(error) or type(error).__name__}"
        if self._said is None or line not in self._said:
            log.error("%s; going on", line, exc_info=None if isinstance(error, OSError) else error)
        if self._said is not None:
            self._said.add(line)
        return True


def log_failure(step: str, *, said: set[str] | None = None) -> _Step:
    """Return a context manager that logs an exception which leaves the block, and goes on behind it.

    `step` says what was attempted: "close the listeners". With `said`, the same failure is logged once. An exception other than
    OSError is a fault of the program, ours or the application's, and is logged with its traceback.
    """
    return _Step(step, said)


def warn_once(line: str) -> None:
    """Log a warning, once in the life of this process: what is lost because the kernel refuses a call."""
    if line not in _said:
        _said.add(line)
        log.warning("%s", line)
