"""From a message to a reply: decode, find the command, ask the policy, call its handler, encode.

No transport here, and no knowledge of what a command does. Handlers run on the control loop and must not block; one that has
to wait is a coroutine. What can be answered at once is, without a task: that is half the time of a `status`.
"""

import logging
import re
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec

from flaskd.audit.entry import params_for_log
from flaskd.audit.log import Audit, AuditRecord
from flaskd.control.access import policy
from flaskd.control.access.groups import Groups
from flaskd.errors import IllegalMove
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import COMMANDS, Command, Role
from flaskd_ctl.protocol import MAX_MESSAGE, PARAMS, Actor, Event, EventNote, Params, Request

T = TypeVar("T")

log = logging.getLogger("flaskd.control")


class Peer(Protocol):
    """The other end of a connection, as a transport sees it. `groups` is None where the transport does not tell them."""

    caller: Actor
    groups: frozenset[int] | None

    def takes_notifications(self) -> bool:
        """Return whether anything but one reply a request can be sent (a ZeroMQ REQ takes no more)."""

    async def send(self, message: bytes) -> bool:
        """Send one message; False where it had to be dropped because the peer reads too slowly.

        Raises ConnectionError when the peer is gone.
        """

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as long as the connection lives."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call on its way to a handler; `caller` is what `peer` was taken for, its groups included."""

    request_id: int | str | None
    params: Params
    peer: Peer
    caller: policy.Caller
    record: AuditRecord | None = None  # where it changes something: what the audit has of it

    def follow(self, future: "Future[T]") -> "Future[T]":
        """Let the audit have the outcome of what was ordered, also where the caller leaves before it; returns `future`."""
        if self.record is not None:
            self.record.follow(future)
        return future

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
LONGEST_QUOTE: Final = 1000
"""Characters of a sentence that would be longer than a message may be."""


class Registry:
    """The commands that are served, each with its handler. `rules` are asked at each call.

    `audit` takes down whatever is asked for that would change something (None: nothing).
    """

    def __init__(self, rules: policy.Rules, *, audit: Audit | None = None) -> None:
        self._rules = rules
        self._audit = audit
        self._groups = Groups()
        self._handlers: dict[str, tuple[Command, Handler]] = {}

    @property
    def rules(self) -> policy.Rules:
        """Who may do what."""
        return self._rules

    def set_rules(self, rules: policy.Rules) -> None:
        """Go by other rules from the next call on, also of connections that are open."""
        self._rules = rules
        self._groups.forget()

    def add(self, name: str, handler: Handler) -> None:
        """Serve the command `name` of the COMMANDS table with `handler`."""
        self._handlers[name] = (COMMANDS[name], handler)

    def served(self) -> list[Command]:
        """List the commands that are served."""
        return [command for command, _ in self._handlers.values()]

    def admits(self, peer: Peer) -> bool:
        """Return whether a peer has any role at all, or may have one once its groups are known."""
        caller = self._caller(peer)
        hinges = policy.depends_on_groups(caller, self._rules)
        return hinges or policy.role_of(caller, self._rules) is not None

    def role_of(self, caller: policy.Caller) -> Role | None:
        """Return the role that a caller has now."""
        return policy.role_of(caller, self._rules)

    def check(self, caller: policy.Caller, command: Command) -> None:
        """Raise NotPermitted where `caller` may not run `command`, as the rules are now."""
        refused = policy.refusal(caller, self._rules, command=command.name, needed=command.role)
        if refused:
            raise errors.NotPermitted(refused, data={"needed": command.role.value})

    def answer(self, message: bytes, peer: Peer) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        """Carry out one message and return the reply, or the coroutine that returns it; None where it was a notification.

        Never raises for bad input.
        """
        request_id: int | str | None = None
        try:
            request = _decode(message)
            request_id = None if request.id is msgspec.UNSET else request.id
            caller = self._caller(peer)
            if policy.depends_on_groups(caller, self._rules):
                return self._later(request, self._call_once_known(request, request_id, peer))
            result = self._call(request, request_id, peer, caller)
            return self._later(request, result) if isinstance(result, Coroutine) else _reply(request, result)
        except Exception as error:  # noqa: BLE001 - the command's outer edge: log with an id, answer with the id
            return _explained(request_id, error)

    async def _later(self, request: Request, result: Coroutine[Any, Any, Any]) -> bytes | None:
        try:
            return _reply(request, await result)
        except Exception as error:  # noqa: BLE001 - as above
            return _explained(None if request.id is msgspec.UNSET else request.id, error)

    def _caller(self, peer: Peer) -> policy.Caller:
        """Say who a peer is, with its groups as far as they are known."""
        actor, groups = peer.caller, peer.groups
        if groups is None and actor.uid is not None and self._rules.grants:
            groups = self._groups.known(actor.uid)
        return policy.Caller(actor, groups)

    async def _call_once_known(self, request: Request, request_id: int | str | None, peer: Peer) -> Any:
        actor = peer.caller
        groups = await self._groups.look_up(actor.uid) if actor.uid is not None else frozenset()
        result = self._call(request, request_id, peer, policy.Caller(actor, groups))
        return await result if isinstance(result, Coroutine) else result

    def _call(self, request: Request, request_id: int | str | None, peer: Peer, caller: policy.Caller) -> Any:
        found = self._handlers.get(request.method)
        if found is None:
            if self.role_of(caller) is None:
                raise errors.NotPermitted(f"{policy.name_of(caller.actor)} has no role here")
            names = ", ".join(self._handlers)
            raise errors.UnknownMethod(
                f"no command is called {request.method!r}", hint=f"the commands are {names}"
            )
        command, handler = found
        if command.changes and self._audit is not None:
            return self._change(request, request_id, peer, caller, self._audit)
        self.check(caller, command)
        return handler(Call(request_id, _params(command, request.params), peer, caller))

    def _change(
        self,
        request: Request,
        request_id: int | str | None,
        peer: Peer,
        caller: policy.Caller,
        audit: Audit,
    ) -> Any:
        """Carry out what changes something; first it is written down, and so is a refusal."""
        command, handler = self._handlers[request.method]
        role = self.role_of(caller)
        as_role = role.value if role is not None else ""
        try:
            self.check(caller, command)
            params = _params(command, request.params)
        except errors.ControlError as error:
            audit.refuse(command.name, {}, caller.actor, str(error), role=as_role)
            raise
        record = audit.begin(command.name, params_for_log(command.name, params), caller.actor, role=as_role)
        try:
            result = handler(Call(request_id, params, peer, caller, record))
        except Exception as error:
            record.finish(error)
            raise
        if isinstance(result, Coroutine):
            return record.await_outcome(result)
        record.finish(None)
        return result


def _reply(request: Request, result: Any) -> bytes | None:
    if request.id is msgspec.UNSET:
        return None
    reply = ENCODER.encode({"jsonrpc": "2.0", "id": request.id, "result": result})
    if len(reply) > MAX_MESSAGE:
        raise errors.TooLarge(
            f"{request.method} was carried out; the answer has {len(reply)} bytes, a message may have {MAX_MESSAGE}"
        )
    return reply


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
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
    ) as error:  # `_decode` passes over what is inside of params
        raise errors.ParseError(f"not JSON: {error}") from None


def failure(request_id: int | str | None, error: errors.ControlError) -> bytes:
    """Encode the reply that says why."""
    data = {"name": error.name, **({"hint": error.hint} if error.hint else {}), **error.data}
    body = {"code": error.code, "message": str(error), "data": data}
    reply = ENCODER.encode({"jsonrpc": "2.0", "id": request_id, "error": body})
    if len(reply) > MAX_MESSAGE:  # it quotes a message that is nearly as long as one may be
        return failure(request_id, type(error)(f"{str(error)[:LONGEST_QUOTE]}…"))
    return reply


def _lowered(error: object) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
