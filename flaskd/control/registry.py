"""From a message to a reply: decode, find the command, check access, call its handler, encode.

This module knows no transport and nothing of what a command does. Handlers run on the control loop and must not block; a
handler that has to wait is a coroutine function. What can be answered at once needs no task: that halves the time of `status`.
"""

import logging
import re
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from flaskd.audit.entry import params_for_log
from flaskd.audit.log import Audit, AuditRecord
from flaskd.control.access import policy
from flaskd.control.access.groups import Groups
from flaskd.errors import IllegalMove
from flaskd_ctl import errors
from flaskd_ctl.contract.commands import COMMANDS, Command, Role
from flaskd_ctl.protocol import MAX_MESSAGE, PARAMS, Actor, Event, EventNote, Request

P = TypeVar("P")
T = TypeVar("T")

log = logging.getLogger("flaskd.control")


class Peer(Protocol):
    """The other end of a connection, as a transport sees it. `groups` is None if the transport does not report them."""

    caller: Actor

    @property
    def groups(self) -> frozenset[int] | None:
        """Its groups, as the transport reports them."""

    def takes_notifications(self) -> bool:
        """Return whether the peer can receive more than one reply to a request (a ZeroMQ REQ cannot)."""

    async def send(self, message: bytes) -> bool:
        """Send one message. Return False if it was dropped because the peer reads too slowly.

        Raises ConnectionError if the peer is gone.
        """

    async def until_gone(self) -> None:
        """Return when the peer has closed its connection; never where a transport does not tell."""

    async def until_writable(self) -> None:
        """Wait until the peer reads what was sent to it."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` until it ends or the connection is lost."""


class Call(msgspec.Struct, Generic[P], frozen=True):
    """One call of `command`. `caller` identifies the peer, including its groups.

    `record` is the call's entry in the audit log; None for a command that changes nothing.
    """

    registry: "Registry"
    command: Command
    request_id: int | str | None
    params: P
    peer: Peer
    caller: policy.Caller
    record: AuditRecord | None = None

    def follow(self, future: "Future[T]") -> "Future[T]":
        """Write the outcome of `future` to the audit log, even if the caller disconnects first. Returns `future`."""
        if self.record is not None:
            self.record.follow(future)
        return future

    def traceback(self, text: str) -> str:
        """Return the application's traceback, or, for a caller that may not see it, which role may."""
        needed = self.registry.role_for_tracebacks
        role = self.registry.role_of(self.caller)
        if not text or (role is not None and role.includes(needed)):
            return text
        return f"(hidden: tracebacks need the role {needed.value})"

    def check_streams(self) -> None:
        """Raise InvalidParams if the peer cannot receive notifications."""
        if not self.peer.takes_notifications():
            raise errors.InvalidParams(
                "a ZeroMQ REQ socket receives one reply to a request and no notifications",
                hint="use a DEALER socket or the plain stream",
            )

    async def notify(self, method: str, event: Event) -> bool:
        """Send an `event` or `progress` notification that belongs to this call. Return False if it was dropped."""
        note = EventNote(id=self.request_id, event=event)
        return await self.peer.send(ENCODER.encode({"jsonrpc": "2.0", "method": method, "params": note}))


Handler = Callable[[Call[Any]], Any]
"""Returns the result; or a coroutine function that does."""

ENCODER: Final = msgspec.json.Encoder()
REQUESTS: Final = msgspec.json.Decoder(Request)
LONGEST_QUOTE: Final = 1000
"""Characters kept of an error's sentence that would exceed the size of a message."""


class Registry:
    """The handlers of commands, by name, and the access rules, which apply to each call.

    `audit` records each command that changes something.
    """

    def __init__(self, rules: policy.Rules, handlers: Mapping[str, Handler], audit: Audit) -> None:
        self._rules = rules
        self._handlers = handlers
        self._audit = audit
        self._groups = Groups()

    @property
    def owner(self) -> int:
        """The uid that is always admin."""
        return self._rules.owner

    @property
    def role_for_tracebacks(self) -> Role:
        """The role that sees the application's tracebacks."""
        return self._rules.tracebacks

    def set_rules(self, rules: policy.Rules) -> None:
        """Use other rules from the next call on, also on connections that are open."""
        self._rules = rules
        self._groups.forget()

    def admits(self, peer: Peer) -> bool:
        """Return whether a peer has any role, or may have one once its groups are known."""
        caller = self._caller(peer)
        return policy.depends_on_groups(caller, self._rules) or self.role_of(caller) is not None

    def role_of(self, caller: policy.Caller) -> Role | None:
        """Return the role of a caller under the current rules."""
        return policy.role_of(caller, self._rules)

    def check(self, caller: policy.Caller, command: Command) -> None:
        """Raise NotPermitted if `caller` may not run `command` under the current rules."""
        needed = command.role
        if command.tracebacks and self._rules.tracebacks.includes(needed):
            needed = self._rules.tracebacks
        refused = policy.refusal(caller, self._rules, command=command.name, needed=needed)
        if refused:
            raise errors.NotPermitted(refused, data={"needed": needed.value})

    def answer(self, message: bytes, peer: Peer) -> bytes | Coroutine[Any, Any, bytes | None] | None:
        """Execute one message. Return the reply or a coroutine that returns it; None for a notification.

        Never raises for bad input.
        """
        request_id: int | str | None = None
        try:
            request = _decode(message)
            request_id = None if request.id is msgspec.UNSET else request.id
            caller = self._caller(peer)
            result: Any
            if policy.depends_on_groups(caller, self._rules):
                result = self._call_with_groups(request, request_id, peer)
            else:
                result = self._call(request, request_id, peer, caller)
            if isinstance(result, Coroutine):
                return _answer_later(request, request_id, result, peer)
            return _reply(request, result)
        except Exception as error:  # noqa: BLE001 - the command's outer edge: log with an id, answer with the id
            return _error_reply(request_id, error)

    def _caller(self, peer: Peer) -> policy.Caller:
        """Return a peer's identity, with its groups if they matter and are known."""
        if policy.is_privileged(peer.caller, self._rules):
            return policy.Caller(peer.caller)
        groups = self._groups.known(peer.caller.uid) if peer.groups is None else peer.groups
        return policy.Caller(peer.caller, groups)

    async def _call_with_groups(self, request: Request, request_id: int | str | None, peer: Peer) -> Any:
        """Look up the peer's groups first."""
        assert peer.caller.uid is not None  # otherwise groups give it no role
        caller = policy.Caller(peer.caller, await self._groups.look_up(peer.caller.uid))
        result = self._call(request, request_id, peer, caller)
        return await result if isinstance(result, Coroutine) else result

    def _call(self, request: Request, request_id: int | str | None, peer: Peer, caller: policy.Caller) -> Any:
        handler = self._handlers.get(request.method)
        if handler is None:
            raise self._unknown(request.method, caller)
        command = COMMANDS[request.method]
        try:
            self.check(caller, command)
            params = _params(command, request.params)
        except errors.ControlError as error:
            if command.changes:
                self._audit.refuse(command.name, {}, caller.actor, str(error), role=self._role_name(caller))
            raise
        if not command.changes:
            return handler(Call(self, command, request_id, params, peer, caller))
        logged, role = params_for_log(command.name, params), self._role_name(caller)
        record = self._audit.begin(command.name, logged, caller.actor, role=role)
        call = Call(self, command, request_id, params, peer, caller, record)
        if iscoroutinefunction(handler):
            return record.await_outcome(handler(call))
        with record:
            return handler(call)

    def _role_name(self, caller: policy.Caller) -> str:
        role = self.role_of(caller)
        return role.value if role is not None else ""

    def _unknown(self, method: str, caller: policy.Caller) -> errors.ControlError:
        """Return the error for a command that does not exist. A caller without a role does not learn which do."""
        if self.role_of(caller) is None:
            return errors.NotPermitted(f"{policy.name_of(caller.actor)} has no role here")
        names = ", ".join(self._handlers)
        return errors.UnknownMethod(f"there is no command {method!r}", hint=f"the commands are {names}")


async def _answer_later(
    request: Request, request_id: int | str | None, result: Coroutine[Any, Any, Any], peer: Peer
) -> bytes | None:
    try:
        found = await result
        await peer.until_writable()  # a peer that does not read has no replies that wait, each with its bytes
        return _reply(request, found)
    except Exception as error:  # noqa: BLE001 - the command's outer edge, as in `Registry.answer`
        return _error_reply(request_id, error)


def _reply(request: Request, result: Any) -> bytes | None:
    if request.id is msgspec.UNSET:
        return None
    reply = ENCODER.encode({"jsonrpc": "2.0", "id": request.id, "result": result})
    if len(reply) > MAX_MESSAGE:
        raise errors.TooLarge(
            f"{request.method} was done, but its reply has {len(reply)} bytes; the limit is {MAX_MESSAGE}"
        )
    return reply


def _error_reply(request_id: int | str | None, error: Exception) -> bytes | None:
    """Encode an error. An unexpected one is logged with an id, and the reply contains only the id."""
    match error:
        case errors.ControlError():
            return failure(request_id, error)
        case IllegalMove():
            return failure(request_id, errors.WrongState(str(error), hint="see `flaskd_ctl status`"))
        case ConnectionError():  # the caller is gone
            return None
    log_id = uuid.uuid4().hex[:12]
    log.error("a command failed [%s]", log_id, exc_info=error)
    sentence = f"the command failed unexpectedly; the daemon's log has the traceback under {log_id}"
    return failure(request_id, errors.Internal(sentence, data={"log_id": log_id}))


def _decode(message: bytes) -> Request:
    try:
        return REQUESTS.decode(message)
    except msgspec.ValidationError as error:
        hint = 'send one object: jsonrpc "2.0", method, params (an object), id'
        raise errors.InvalidRequest(f"not a JSON-RPC 2.0 request: {_lowered(error)}", hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.ParseError(f"not JSON: {error}") from None


def _params(command: Command, raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw, type=PARAMS[command.name])
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        unknown = re.search(r"unknown field `([^`]*)`", what)
        where = "params" + path.rstrip("`") + (f".{unknown[1]}" if unknown else "")
        sentence = f"{command.name}: {where}: {_lowered(what)}"
        known = ", ".join(param.name for param in command.params) or "none"
        raise errors.InvalidParams(sentence, hint=f"its parameters: {known}", data={"path": where}) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # `_decode` does not look inside params
        raise errors.ParseError(f"not JSON: {error}") from None


def failure(request_id: int | str | None, error: errors.ControlError) -> bytes:
    """Encode an error as a reply."""
    data = {"name": error.name, **({"hint": error.hint} if error.hint else {}), **error.data}
    body = {"code": error.code, "message": str(error), "data": data}
    reply = ENCODER.encode({"jsonrpc": "2.0", "id": request_id, "error": body})
    if len(reply) > MAX_MESSAGE:  # it quotes a message of nearly the maximum size
        return failure(request_id, type(error)(f"{str(error)[:LONGEST_QUOTE]}…"))
    return reply


def _lowered(error: object) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
