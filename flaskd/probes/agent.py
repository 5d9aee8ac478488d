"""Answers for HAProxy's agent-check (`--agent HOST:PORT`): one line, then close. Pure.

HAProxy connects every `agent-inter` and reads state and weight ("agent-check" in its configuration manual, section 5.2). Each
answer can be undone by a later one:

`up 75%`   in rotation; the weight is the share of free threads, in percent of the weight configured for the server.
`up 1%`    saturated (see `metrics.saturation`): as little as can be. Not 0: if all servers are, HAProxy would have none left.
`up 0%`    draining, weight 0: only requests that a cookie ties to this server. The word `drain` would last until an agent says
           `ready`, and `ready` would also undo a drain by an administrator of HAProxy.
`down #…`  not serving, or stopping: no new requests. It lasts until an agent says `up`.
"""

from collections.abc import Callable
from math import ceil

from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State


def answer(asked: bytes, rotation: Callable[[], Rotation], metrics: object = None) -> bytes | None:
    """Return the line for an agent-check at once, whatever was `asked` (agent-send)."""
    now = rotation()
    if now.state is State.DRAINING:
        line = "up 0%"
    elif now.in_rotation:
        free = 0.0 if now.saturated else now.free_share
        line = f"up {max(1, ceil(100 * free))}%"  # at least 1: 0 means draining
    else:
        line = f"down #{now.text}"
    return f"{line}\n".encode()
