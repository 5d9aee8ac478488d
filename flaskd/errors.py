"""What can go wrong on the daemon's side before it serves, or when it is asked for the impossible.

Each carries a sentence (what was tried, on what, what was seen) and a `hint`, the next step. The command line prints both and
exits 1; `Server` raises them.
"""


class FlaskdError(Exception):
    """Base of the daemon's own errors."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class LoadError(FlaskdError):
    """The application could not be imported, found or made."""


class BindError(FlaskdError):
    """An address cannot be listened on."""


class ClaimError(FlaskdError):
    """The instance's place cannot be ours: no permission, not our directory, a foreign file in the way."""


class NameTaken(ClaimError):
    """Another instance lives there; `pid` is its process, 0 where that is not known."""

    def __init__(self, message: str, *, pid: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.pid = pid


class ConfigError(FlaskdError):
    """A setting has a value it cannot have; the sentence names the setting and where the value came from."""


class CommandError(FlaskdError):
    """A function cannot be a command of the application (`@flaskd.command`); the sentence names the command."""


class IllegalMove(FlaskdError):
    """The lifecycle has no such move; nothing was changed."""

    def __init__(self, state: str, event: str, what: str = "an instance") -> None:
        super().__init__(f"cannot {event} {what} that is {state}")
        self.state = state
        self.event = event
