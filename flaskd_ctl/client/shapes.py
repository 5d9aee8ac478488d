"""Make the structs of `protocol` from the plain dicts that arrive."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.errors import ParseError
from flaskd_ctl.protocol import Event, LastStop, WorkerFailure

T = TypeVar("T")


Goal = Literal["ready", "running", "idle", "stopped"]
"""What one can wait for."""


class InstanceInfo(msgspec.Struct, frozen=True):
    """One instance of this host.

    `state` is that of its status, or "stopped"; "stale" (its process ended without cleaning up), "no answer", "not permitted"
    or "unknown", with the reason in `detail`. What is not known is None. `last_failure` is set where it is degraded,
    `last_stop` where it has stopped.
    """

    name: str
    state: str
    ready: bool | None
    pid: int | None
    since: float | None
    listeners: list[str]
    directory: str | None
    detail: str
    last_stop: LastStop | None = None
    last_failure: WorkerFailure | None = None


def instance_info(row: dict[str, Any]) -> InstanceInfo:
    """Make the struct of a row of `listing`; a note on disk that is not as it should be is left out."""
    return typed("list", row | {"last_stop": known(row["last_stop"], LastStop)}, InstanceInfo)


def shutdown_params(
    grace: float | None, lame_duck: float | None, wait_unrouted: float | None
) -> dict[str, Any]:
    """Make the params of `shutdown`, asking for progress: its first word says that the stop has begun."""
    said = {"grace": grace, "lame_duck": lame_duck, "wait_unrouted": wait_unrouted}
    return {"progress": True} | {name: seconds for name, seconds in said.items() if seconds is not None}


def typed(method: str, result: Any, shape: type[T]) -> T:
    """Make the struct of a result; fields unknown to it are left out, a missing one is a ParseError."""
    try:
        return msgspec.convert(result, shape)
    except msgspec.ValidationError as error:
        raise ParseError(f"the result of `{method}` is not as the protocol says: {error}") from None


def known(value: Any, shape: Any) -> Any:
    """Make the struct of a value; None for one of an unknown kind, which a newer daemon may send."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None


def typed_event(event: dict[str, Any]) -> Event | None:
    """Make the struct of an event; None for a kind that is not known."""
    struct: Event | None = known(event, Event)
    return struct


def typed_progress(on_progress: Callable[[T], None] | None, kind: type[T]) -> OnProgress | None:
    """Give a callback that takes structs of `kind` the plain events that are heard."""
    if on_progress is None:
        return None

    def tell(event: dict[str, Any]) -> None:
        struct = typed_event(event)
        if isinstance(struct, kind):
            on_progress(struct)

    return tell
