"""`@flaskd.command`, and the commands of this process that it has collected."""

import inspect
import re
import threading
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from flaskd.app_commands.parameters import schema_of, struct_of
from flaskd.errors import CommandError
from flaskd_ctl.contract.commands import Role

NAME: Final = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*")
LONGEST_NAME: Final = 64

MOST_COMMANDS: Final = 200
"""Commands of one process: their list has to fit into a message."""

LONGEST_TIMEOUT: Final = 3600.0
"""Seconds that a command may be given."""

LONGEST_SUMMARY: Final = 200

ROLES: Final = (Role.OPERATOR, Role.ADMIN)
"""Roles that a command may need. Not viewer: viewers change nothing, and flaskd cannot know what a function does."""

F = TypeVar("F", bound=Callable[..., Any])


class AppCommand(NamedTuple):
    """A command of the application. `place` says where it is defined: two definitions at one place are the same command."""

    name: str
    function: Callable[..., Any]
    role: Role
    on: Literal["one", "each"]
    timeout: float
    summary: str
    params: type[msgspec.Struct]
    schema: bytes
    place: str


class Registry:
    """The commands of one process. Applications define them in any thread, also while others are called."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # protects the check and the change together
        self._commands: dict[str, AppCommand] = {}

    def add(self, command: AppCommand) -> None:
        """Add a command, or replace the one of this name that was defined at the same place.

        An application factory that is called again, or a module that is imported again, defines its commands again. Raises
        CommandError for another definition of the name, and for too many commands.
        """
        with self._lock:
            before = self._commands.get(command.name)
            if before is not None and before.place != command.place:
                raise CommandError(
                    f"the command {command.name} is defined twice: by {before.place} and by {command.place}",
                    hint="rename one of them",
                )
            if before is None and len(self._commands) >= MOST_COMMANDS:
                raise CommandError(f"{command.name} is one command too many: the most is {MOST_COMMANDS}")
            self._commands[command.name] = command

    def get(self, name: str) -> AppCommand | None:
        """Return the command of this name."""
        return self._commands.get(name)

    def all(self) -> list[AppCommand]:
        """Return every command, by name."""
        with self._lock:
            return [self._commands[name] for name in sorted(self._commands)]


COMMANDS: Final = Registry()
"""The commands of this process."""


def command(
    name: str,
    *,
    role: Literal["operator", "admin"] = "operator",
    on: Literal["one", "each"] = "one",
    timeout: float = 30,
) -> Callable[[F], F]:
    """Make a function a command of the instance that serves this application: `flaskd_ctl call NAME key=value`.

        @flaskd.command("cache.clear", on="each")
        def clear(region: str = "all") -> int: ...

    The caller's parameters are checked against the function's annotations. It runs in the application context, in `one` worker
    or in `each`, on a thread of its own. What it returns must be possible to write as JSON; a generator's yields are sent as
    progress, and what it returns is the result. `timeout`: seconds that the caller waits at most, up to 3600; a function that
    takes longer goes on. `role` is what the caller must have. The first paragraph of the docstring is the command's summary.

    The decorated function is unchanged: call it like any other, in tests too. Without flaskd nothing else happens. Raises
    CommandError, when the module is imported, for a name that another function has, or that is not made of lower-case words
    and dots, for parameters that cannot be checked, and for other arguments out of range.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise CommandError(
            f"{name!r} is not a name for a command",
            hint=f"use lower-case words and dots, like cache.clear, at most {LONGEST_NAME} characters",
        )
    needed = next((each for each in ROLES if each.value == role), None)
    if needed is None:
        raise CommandError(
            f"the command {name}: role={role!r} is not possible", hint='give role="operator" or role="admin"'
        )
    if on not in {"one", "each"}:
        raise CommandError(
            f"the command {name}: on={on!r} is not possible", hint='give on="one" or on="each"'
        )
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout <= LONGEST_TIMEOUT:
        raise CommandError(
            f"the command {name}: timeout={timeout!r} is not between 0 and {LONGEST_TIMEOUT:g} seconds"
        )

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise CommandError(
                f"the command {name}: {_place(function)} is async",
                hint="write a plain function, which may call asyncio.run",
            )
        if not callable(function) or inspect.isclass(function):
            raise CommandError(f"the command {name} is not a function: {function!r}")
        params = struct_of(name, function)
        COMMANDS.add(
            AppCommand(
                name,
                function,
                needed,
                on,
                float(timeout),
                _summary(function),
                params,
                schema_of(params),
                _place(function),
            )
        )
        return function

    return decorate


def _summary(function: Callable[..., Any]) -> str:
    """Return the first paragraph of the docstring, in one line."""
    paragraph = (inspect.getdoc(function) or "").partition("\n\n")[0]
    line = " ".join(paragraph.split()).encode("utf-8", "backslashreplace").decode()
    return line if len(line) <= LONGEST_SUMMARY else f"{line[: LONGEST_SUMMARY - 1]}…"


def _place(function: Callable[..., Any]) -> str:
    """Return where a function is defined: its name, file and line."""
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name
