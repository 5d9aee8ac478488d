"""Requests, and what parameters are made of."""

from typing import Annotated, Final, Literal

import msgspec

MAX_MESSAGE: Final = 1024 * 1024
"""Longest message in bytes, in both directions."""

MAX_ID: Final = 1000
"""Longest id that is a string, in characters: each reply repeats it."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400, description="seconds, at most a day")]
Duration = Annotated[
    float, msgspec.Meta(gt=0, le=86_400, description="seconds, more than 0 and at most a day")
]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Path = Annotated[str, msgspec.Meta(pattern="^/", description="a path, with or without a query")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call. Without `id` it is a notification: carried out, not answered (JSON-RPC 2.0, section 4.1)."""

    jsonrpc: Literal["2.0"]
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    id: int | Annotated[str, msgspec.Meta(max_length=MAX_ID)] | msgspec.UnsetType | None = msgspec.UNSET


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""
