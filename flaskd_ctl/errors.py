"""The errors of operations on an instance.

Each error has a stable `name` (`data.name` on the wire), a sentence, and the next step. Wrong usage, missing permission, a
wrong state and a bug are different classes. Only the command line turns them into exit codes.
"""

from typing import Any, ClassVar, Final


def with_next_step(sentence: str, hint: str) -> str:
    """Write `hint`, if there is one, as a sentence of its own behind `sentence`."""
    if not hint:
        return sentence
    end = "" if hint.endswith("?") else "."
    return f"{sentence}. {hint[0].upper()}{hint[1:]}{end}"


class ControlError(Exception):
    """Base class of everything that an operation on an instance may raise.

    `str()` is the sentence: what was attempted, on what, what happened. `hint` is the next step, or "". `data` holds the other
    fields of the error on the wire (for example `path`, the wrong field).
    """

    name: ClassVar[str] = "failed"
    code: ClassVar[int] = -32005

    def __init__(self, message: str, *, hint: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.data = data or {}

    @property
    def with_hint(self) -> str:
        """The sentence, and as another one the next step, if there is one."""
        return with_next_step(str(self), self.hint)


class Failed(ControlError):
    """The daemon tried and failed."""


class ParseError(ControlError):
    """The message was not JSON."""

    name = "parse_error"
    code = -32700


class InvalidRequest(ControlError):
    """The message was JSON but not a JSON-RPC 2.0 request."""

    name = "invalid_request"
    code = -32600


class UnknownMethod(ControlError):
    """There is no command of that name."""

    name = "unknown_method"
    code = -32601


class InvalidParams(ControlError):
    """A parameter is missing, unknown or of the wrong type; `data["path"]` names it."""

    name = "invalid_params"
    code = -32602


class Internal(ControlError):
    """The daemon has a bug; `data["log_id"]` is in its log, with the traceback."""

    name = "internal"
    code = -32603


class NotPermitted(ControlError):
    """The caller's role does not allow it, or the caller may not open the socket."""

    name = "not_permitted"
    code = -32001


class WrongState(ControlError):
    """Not possible in this state of the instance."""

    name = "wrong_state"
    code = -32002


class NotFound(ControlError):
    """There is no such worker, incident or log."""

    name = "not_found"
    code = -32003


class TimedOut(ControlError):
    """No response in time; it is not known whether the command was carried out."""

    name = "timeout"
    code = -32004


class TooLarge(ControlError):
    """The message is longer than the protocol's 1 MiB."""

    name = "too_large"
    code = -32006


class NotRunning(ControlError):
    """Nothing listens at the instance's socket (client side only)."""

    name = "not_running"
    code = -32007


class ConnectionLost(ControlError):
    """The connection ended before the reply; it is not known whether the command was carried out (client side only)."""

    name = "connection_lost"
    code = -32008


class BadPlace(ControlError):
    """A name, path or URL that is not valid for an instance: too long, malformed, or not trusted."""

    name = "bad_place"
    code = -32009


class BadKey(BadPlace):
    """A file with no key, with the wrong half of a key, or with a secret that others may read (never sent)."""

    name = "bad_key"
    code = -32012


class Ambiguous(ControlError):
    """Several instances are running and none was named; `data["names"]` lists them (client side only)."""

    name = "ambiguous"
    code = -32010


class Unreachable(ControlError):
    """The instance runs without its socket, or its host cannot be reached and its state is not known (client side only)."""

    name = "unreachable"
    code = -32011


BY_NAME: Final[dict[str, type[ControlError]]] = {
    error.name: error
    for error in (
        Failed,
        ParseError,
        InvalidRequest,
        UnknownMethod,
        InvalidParams,
        Internal,
        NotPermitted,
        WrongState,
        NotFound,
        TimedOut,
        TooLarge,
        NotRunning,
        ConnectionLost,
        BadPlace,
        Ambiguous,
        Unreachable,
        BadKey,
    )
}
"""Error classes by `data.name` on the wire; an unknown name, from a newer daemon, is read as `Failed`."""

NOT_UNDERSTOOD: Final = (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError)
"""What handling a reply raises if a field has another type than the protocol says."""


def unexpected(error: Exception) -> ControlError:
    """Make the error to report for an exception that nobody expected: a reply of the wrong shape, or a bug."""
    if isinstance(error, NOT_UNDERSTOOD):
        return ParseError(
            f"what answered is not a flaskd that I understand: {type(error).__name__}: {error}",
            hint="check the --endpoint; if flaskd serves there, please report it, with the command",
        )
    return Failed(
        f"flaskd_ctl itself failed: {type(error).__name__}: {error}",
        hint="please report it, with the command",
    )
