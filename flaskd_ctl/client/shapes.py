"""From the plain dicts that are heard to the structs of `protocol`, for those who want types."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.errors import ParseError
from flaskd_ctl.protocol import Event

T = TypeVar("T")


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


def typed_event(event: dict[str, Any]) -> Event | None:
    """Make the struct of an event; None for a kind that a newer daemon made up."""
    try:
        known: Event = msgspec.convert(event, Event)
    except msgspec.ValidationError:
        return None
    return known


def typed_progress(on_progress: Callable[[T], None] | None, kind: type[T]) -> OnProgress | None:
    """Give a callback that takes structs of `kind` the plain events that are heard."""
    if on_progress is None:
        return None

    def tell(event: dict[str, Any]) -> None:
        known = typed_event(event)
        if isinstance(known, kind):
            on_progress(known)

    return tell
