"""From a message to a reply: decode, find the command, ask the policy, call its handler, encode.

No transport here, and no knowledge of what a command does. Handlers run on the control loop and must not block; one that has
to wait is a coroutine. What can be answered at once is, without a task: that is half the time of a `status`.
"""

import logging
import re
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from flaskd.control import policy
from flaskd.errors import IllegalMove
from flaskd_ctl import errors
from flaskd_ctl.commands import COMMANDS, Command
from flaskd_ctl.protocol import PARAMS, Actor, Event, EventNote, Params, Request

log = logging.getLogger("flaskd.control")


class Peer(Protocol):
    """The other end of a connection, as a transport sees it."""

    caller: Actor

    def takes_notifications(self) -> bool:
        """Tell whether anything but one reply a request can be sent (a ZeroMQ REQ takes no more)."""
        ...

    async def send(self, message: bytes) -> bool:
        """Send one message; False where it had to be dropped because the peer reads too slowly.

        Raises ConnectionError when the peer is gone.
        """
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as long as the connection lives."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One call on its way to a handler."""

    request_id: int | str | None
    params: Params
    peer: Peer

    def check_streams(self) -> None:
        """Raise InvalidParams where the peer cannot take notifications."""
        if not self.peer.takes_notifications():
            raise errors.InvalidParams(
                "a ZeroMQ REQ socket takes one reply a request and no notifications",
                hint="use a DEALER socket or the plain stream",
            )

    async def note(self, method: str, event: Event) -> bool:
        """Send an `event` or `progress` notification that belongs to this call; False where it was dropped."""
        note = EventNote(id=self.request_id, event=event)
        return await self.peer.send(ENCODER.encode({"jsonrpc": "2.0", "method": method, "params": note}))


Handler = Callable[[Call], Any]
"""Returns the result, or a coroutine that does."""

ENCODER: Final = msgspec.json.Encoder()
REQUESTS: Final = msgspec.json.Decoder(Request)


class Registry:
    """The commands that are served, each with its handler. `owner` is the uid that the daemon runs as."""

    def __init__(self, *, owner: int) -> None:
        self._owner = owner
        self._handlers: dict[str, tuple[Command, Handler]] = {}

    def add(self, name: str, handler: Handler) -> None:
        """Serve the command `name` of the COMMANDS table with `handler`."""
        self._handlers[name] = (COMMANDS[name], handler)

    def served(self) -> list[Command]:
        """List the commands that are served."""
        return [command for command, _ in self._handlers.values()]

    def admits(self, caller: Actor) -> bool:
        """Tell whether `caller` has any role at all."""
        return policy.role_of(caller, owner=self._owner) is not None

    def answer(self, message: bytes, peer: Peer) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        """Carry out one message and return the reply, or the coroutine that returns it; None where it was a notification.

        Never raises for bad input.
        """
        request_id: int | str | None = None
        try:
            request = _decode(message)
            request_id = None if request.id is msgspec.UNSET else request.id
            result = self._call(request, request_id, peer)
            return self._later(request, result) if isinstance(result, Coroutine) else _reply(request, result)
        except Exception as error:  # noqa: BLE001 - the command's outer edge: log with an id, answer with the id
            return _explained(request_id, error)

    async def _later(self, request: Request, result: Coroutine[Any, Any, Any]) -> bytes | None:
        try:
            return _reply(request, await result)
        except Exception as error:  # noqa: BLE001 - as above
            return _explained(None if request.id is msgspec.UNSET else request.id, error)

    def _call(self, request: Request, request_id: int | str | None, peer: Peer) -> Any:
        caller = peer.caller
        found = self._handlers.get(request.method)
        if found is None:
            if not self.admits(caller):
                raise errors.NotPermitted(f"uid {caller.uid} has no role here")
            names = ", ".join(self._handlers)
            raise errors.UnknownMethod(
                f"no command is called {request.method!r}", hint=f"the commands are {names}"
            )
        command, handler = found
        refused = policy.refusal(caller, owner=self._owner, command=command.name, needed=command.role)
        if refused:
            raise errors.NotPermitted(refused, data={"needed": command.role.value})
        return handler(Call(request_id, _params(command, request.params), peer))


def _reply(request: Request, result: Any) -> bytes | None:
    if request.id is msgspec.UNSET:
        return None
    return ENCODER.encode({"jsonrpc": "2.0", "id": request.id, "result": result})


def _explained(request_id: int | str | None, error: Exception) -> bytes | None:
    """Say why a command failed; what nobody foresaw is logged with an id, and the id is told."""
    match error:
        case errors.ControlError():
            return failure(request_id, error)
        case IllegalMove():
            return failure(request_id, errors.WrongState(str(error), hint="see `flaskd_ctl status`"))
        case ConnectionError():
            return None  # the caller left; nobody is there to be told
    log_id = uuid.uuid4().hex[:12]
    log.error("a command failed [%s]", log_id, exc_info=error)
    sentence = f"the daemon failed to carry it out; its log has the traceback under {log_id}"
    return failure(request_id, errors.Internal(sentence, data={"log_id": log_id}))


def _decode(message: bytes) -> Request:
    try:
        return REQUESTS.decode(message)
    except msgspec.ValidationError as error:
        hint = 'send one object: jsonrpc "2.0", method, params (an object), id'
        raise errors.InvalidRequest(f"not a JSON-RPC 2.0 request: {_lowered(error)}", hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.ParseError(f"not JSON: {error}") from None


def _params(command: Command, raw: msgspec.Raw) -> Params:
    try:
        return msgspec.json.decode(raw, type=PARAMS[command.name])
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        unknown = re.search(r"unknown field `([^`]*)`", what)
        where = "params" + path.rstrip("`") + (f".{unknown[1]}" if unknown else "")
        sentence = f"{command.name}: {where}: {_lowered(what)}"
        known = ", ".join(param.name for param in command.params) or "none"
        raise errors.InvalidParams(sentence, hint=f"its parameters: {known}", data={"path": where}) from None


def failure(request_id: int | str | None, error: errors.ControlError) -> bytes:
    """Encode the reply that says why."""
    data = {"name": error.name, **({"hint": error.hint} if error.hint else {}), **error.data}
    body = {"code": error.code, "message": str(error), "data": data}
    return ENCODER.encode({"jsonrpc": "2.0", "id": request_id, "error": body})


def _lowered(error: object) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
