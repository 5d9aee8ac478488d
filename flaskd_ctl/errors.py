"""What can go wrong between a client and an instance.

Each error carries a stable `name` (the wire's `data.name`), a sentence, and the next step. "You asked wrongly", "you may
not", "not now" and "we broke" are different classes. Only the command line turns them into exit codes.
"""

from typing import Any, ClassVar, Final


class ControlError(Exception):
    """Base of all that an operation on an instance may raise.

    `str()` is the sentence: what was tried, on what, what was seen. `hint` is the next step, or "". `data` holds what the
    wire carried besides (for example `path`, the field at fault).
    """

    name: ClassVar[str] = "failed"
    code: ClassVar[int] = -32005

    def __init__(self, message: str, *, hint: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.data = data or {}


class Failed(ControlError):
    """The daemon tried and did not succeed."""


class ParseError(ControlError):
    """The message was not JSON."""

    name = "parse_error"
    code = -32700


class InvalidRequest(ControlError):
    """The message was JSON but no JSON-RPC 2.0 request."""

    name = "invalid_request"
    code = -32600


class UnknownMethod(ControlError):
    """No command of that name."""

    name = "unknown_method"
    code = -32601


class InvalidParams(ControlError):
    """A parameter is missing, unknown or of the wrong kind; `data["path"]` says which."""

    name = "invalid_params"
    code = -32602


class Internal(ControlError):
    """The daemon has a bug; `data["log_id"]` is in its log beside the traceback."""

    name = "internal"
    code = -32603


class NotPermitted(ControlError):
    """The caller's role does not allow it, or the operating system does not let it near the socket."""

    name = "not_permitted"
    code = -32001


class WrongState(ControlError):
    """Not in this state of the instance."""

    name = "wrong_state"
    code = -32002


class NotFound(ControlError):
    """What was named does not exist."""

    name = "not_found"
    code = -32003


class TimedOut(ControlError):
    """No answer in time; whether the thing happened is not known."""

    name = "timeout"
    code = -32004


class TooLarge(ControlError):
    """The message is longer than the protocol's 1 MiB."""

    name = "too_large"
    code = -32006


class NotRunning(ControlError):
    """Nothing listens at the instance's place (client side only: a daemon that is gone cannot say so)."""

    name = "not_running"
    code = -32007


class ConnectionLost(ControlError):
    """The instance went away before it answered; whether the thing happened is not known (client side only)."""

    name = "connection_lost"
    code = -32008


class BadPlace(ControlError):
    """A name, path or URL that cannot be an instance's place: too long, not ours, ill-formed."""

    name = "bad_place"
    code = -32009


class BadKey(BadPlace):
    """A file that holds no key, not the half that is wanted, or a secret that others may read (never sent)."""

    name = "bad_key"
    code = -32012


class Ambiguous(ControlError):
    """Several instances run and none was named; `data["names"]` lists them (client side only)."""

    name = "ambiguous"
    code = -32010


class Unreachable(ControlError):
    """No way leads to the instance's host; whether it runs is not known (client side only)."""

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
"""Error classes by the wire's `data.name`; a name that a newer daemon made up is read as `Failed`."""
