"""The agent's answers (`--agent HOST:PORT`): HAProxy's agent-check, one line and the end. Pure.

HAProxy connects every `agent-inter` and reads state and weight ("agent-check" in its configuration manual, section 5.2). The
words are chosen by what undoes them:

`up 75%`   in rotation; the weight is the share of all threads that are free, of the weight configured for the server.
`up 0%`    draining, a weight of 0: no new request but those that cookies tie to this server. The word `drain` would stay until
           an agent says `ready`, and `ready` would also undo what an administrator of HAProxy has drained.
`down#…`   it does not serve, or is leaving: no new request at all. It stays so without an agent, until another says `up`.
"""

from collections.abc import Callable
from math import ceil

from flaskd.probes.rotation import Rotation
from flaskd.shutdown.lifecycle import State


def answer(asked: bytes, rotation: Callable[[], Rotation]) -> bytes | None:
    """Return the line for an agent-check; whatever was `asked` (agent-send), nothing is waited for."""
    now = rotation()
    if now.state is State.DRAINING:
        line = "up 0%"
    elif now.ready:
        line = f"up {max(1, ceil(100 * now.free_share))}%"  # however busy, it serves: 0 is for who drains
    else:
        line = f"down #{now.text}"
    return f"{line}\n".encode()
