"""One call of an application's command: check the parameters, run the function, write its result as JSON."""

import inspect
import itertools
import os
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, Literal

import msgspec

from flaskd.app_commands.parameters import problem_of
from flaskd.app_commands.registry import AppCommand
from flaskd.errors import FlaskdError

LONGEST_RESULT: Final = 262_144
"""Bytes of a result as JSON: the reply to a call contains that of each worker, and has at most 1 MiB."""

LONGEST_PROGRESS: Final = 4096
"""Bytes of one progress message as JSON."""

DEEPEST: Final = 64
"""Levels of lists and objects in a result: readers in other languages have limits, too."""

BURST: Final = 200
PER_SECOND: Final = 50.0
"""Progress messages that a command may send at once, and in the long run. More would keep the supervisor busy."""

Report = Callable[[str, int], None]
"""Takes a progress message as JSON, and the number of messages that were left out before it."""


Kind = Literal["params", "raised", "not_json", "too_large"]


class CallError(FlaskdError):
    """A call failed. `kind` is a word for what went wrong, `path` the wrong parameter, `trace` the application's traceback."""

    def __init__(self, message: str, *, kind: Kind, hint: str = "", path: str = "", trace: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.path = path
        self.trace = trace


class Progress:
    """Sends what a command yields, and leaves out what exceeds BURST and PER_SECOND."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._room = float(BURST)
        self._at = time.monotonic()
        self._skipped = 0
        self._latest = ""

    def send(self, value: object) -> None:
        """Send a value. Raises CallError if JSON cannot have it."""
        now = time.monotonic()
        self._room = min(float(BURST), self._room + (now - self._at) * PER_SECOND)
        self._at = now
        text = as_json(value, "yielded", most=LONGEST_PROGRESS)
        if self._room < 1:
            self._skipped += 1
            self._latest = text
            return
        self._room -= 1
        skipped, self._skipped = self._skipped, 0
        self._report(text, skipped)

    def finish(self) -> None:
        """Send the last value, if it was left out: it says how far the command came."""
        if self._skipped:
            self._report(self._latest, self._skipped - 1)


def call(
    command: AppCommand, params: str, *, context: Callable[[], AbstractContextManager[Any]], report: Report
) -> str:
    """Run a command with `params`, an object as JSON, inside `context`; return its result as JSON. Raises CallError."""
    try:
        given = msgspec.json.decode(params, type=command.params)
    except msgspec.ValidationError as error:
        what, where = problem_of(error)
        known = ", ".join(command.params.__struct_fields__) or "none"
        raise CallError(
            f"{command.name}: {where}: {what}", kind="params", hint=f"its parameters: {known}", path=where
        ) from None
    except ValueError as error:
        raise CallError(f"{command.name}: its parameters are not JSON: {error}", kind="params") from None
    keywords = {name: getattr(given, name) for name in command.params.__struct_fields__}
    try:
        with context():
            value = command.function(**keywords)
            if inspect.isgenerator(value):
                value = _exhausted(value, Progress(report))
            # Inside the context: a lazy value may need it to be written.
            return as_json(value, "returned", most=LONGEST_RESULT)
    except CallError as error:
        error.args = (f"{command.name} {error}",)
        raise
    except BaseException as error:  # SystemExit, too: it would end the thread without a reply
        raise CallError(
            f"{command.name} raised {described(error)}", kind="raised", trace=own_traceback(error)
        ) from error


def _exhausted(generator: Generator[Any, Any, Any], progress: Progress) -> Any:
    """Send what a generator yields and return what it returns."""
    while True:
        try:
            value = next(generator)
        except StopIteration as end:
            progress.finish()
            return end.value
        progress.send(value)


def as_json(value: object, verb: str, *, most: int) -> str:
    """Write a value as JSON of at most `most` bytes. Raises CallError if that is not possible."""
    try:
        plain = msgspec.to_builtins(value)
        written = msgspec.json.encode(plain)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CallError(
            f"{verb} what JSON cannot have: {type(value).__name__}: {error}",
            kind="not_json",
            hint="use strings, numbers, lists and dicts",
        ) from error
    if _deeper(plain, DEEPEST):
        raise CallError(f"{verb} more than {DEEPEST} levels of lists and dicts", kind="not_json")
    if len(written) > most:
        raise CallError(
            f"{verb} {len(written)} bytes of JSON; the most is {most}",
            kind="too_large",
            hint="write what is large to a file, and tell its name",
        )
    return written.decode()


def _deeper(value: object, levels: int) -> bool:
    """Return whether a plain value has more than this many levels of lists and dicts."""
    layer: Iterator[Any] = iter([value])
    for _ in range(levels + 1):
        inner = [list(each.values()) if isinstance(each, dict) else each for each in layer if _holds(each)]
        if not inner:
            return False
        layer = itertools.chain.from_iterable(inner)
    return True


def _holds(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def described(error: BaseException) -> str:
    """Return an exception's type and text, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - whatever the application's __str__ raises
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def own_traceback(error: BaseException) -> str:
    """Return the traceback of an exception, from the application's first frame on."""
    here = os.path.dirname(__file__)
    try:
        shown = traceback.TracebackException.from_exception(error)
        shown.stack[:] = list(itertools.dropwhile(lambda frame: frame.filename.startswith(here), shown.stack))
        return "".join(shown.format())
    except Exception:  # noqa: BLE001 - as above
        return ""
