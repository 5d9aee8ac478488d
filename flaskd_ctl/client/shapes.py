"""Make the structs of `protocol` from the plain dicts that arrive."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

from flaskd_ctl.client.session import OnProgress, given
from flaskd_ctl.errors import ParseError
from flaskd_ctl.protocol import Event, LastStop, WorkerFailure

T = TypeVar("T")


Goal = Literal["ready", "running", "idle", "stopped"]
"""The states to wait for."""


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
    """Make the struct of a row of `listing`; an invalid note on disk is left out."""
    return typed("list", row | {"last_stop": known(row["last_stop"], LastStop)}, InstanceInfo)


def shutdown_params(
    grace: float | None, lame_duck: float | None, wait_unrouted: float | None
) -> dict[str, Any]:
    """Make the params of `shutdown`, with progress: the first notification shows that the stop has begun."""
    return given(grace=grace, lame_duck=lame_duck, wait_unrouted=wait_unrouted, progress=True)


def typed(method: str, result: Any, shape: type[T]) -> T:
    """Make the struct of a result; unknown fields are ignored, a missing field is a ParseError."""
    try:
        return msgspec.convert(result, shape)
    except msgspec.ValidationError as error:
        raise ParseError(f"the result of `{method}` does not follow the protocol: {error}") from None


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
    """Adapt a callback that takes structs of `kind` to plain events."""
    if on_progress is None:
        return None

    def report(event: dict[str, Any]) -> None:
        struct = typed_event(event)
        if isinstance(struct, kind):
            on_progress(struct)

    return report
