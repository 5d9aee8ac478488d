"""Carry out one case on one server."""

import json
import time
from typing import Any, NamedTuple

from tests.http.client import PATIENCE, Ending, Seen, exchange, get
from tests.http.expected import Case, Expected, faults
from tests.http.servers import ENGINES, Server, Servers


class Trial(NamedTuple):
    """What a case came to: what the client saw, the application's records, and what is wrong with it."""

    seen: Seen
    calls: list[dict[str, Any]]
    faults: list[str]


def carry_out(case: Case, servers: Servers, name: str, expected: Expected) -> Trial:
    """Carry out a case on the server called `name`. One that is stuck or gone after it is replaced by a new one."""
    server = servers.get(name, bounded=case.bounded)
    try:
        get(server.address, "/_forget")
    except OSError:
        servers.drop(name, bounded=case.bounded)
        server = servers.get(name, bounded=case.bounded)
    printed = len(server.output())
    seen = exchange(
        server.address, case.steps, expected=len(case.methods), methods=case.methods, old=case.old
    )
    try:
        calls = _settled(server, expected, left=seen.ending is Ending.LEFT)
    except OSError as error:
        servers.drop(name, bounded=case.bounded)
        return Trial(seen, [], [*faults(case, expected, seen, []), f"nobody is answered after it: {error!r}"])
    wrong = faults(case, expected, seen, calls)
    if expected.logged and name in ENGINES and not _logged(server, printed):
        wrong.append("the log says nothing")
    if not all(call["done"] for call in calls):
        servers.drop(name, bounded=case.bounded)
    return Trial(seen, calls, wrong)


def _settled(server: Server, expected: Expected, *, left: bool) -> list[dict[str, Any]]:
    """Return the calls' records when they are done, or will not be.

    Where the client has left, no response tells that a call has begun: one that has to come is waited for, one that may come
    for a moment.
    """
    begun = time.monotonic()
    patience = PATIENCE if min(expected.calls) else 0.3
    while True:
        calls: list[dict[str, Any]] = json.loads(get(server.address, "/_calls"))
        waited = time.monotonic() - begun
        due = not calls and left and waited < patience
        under_way = not all(call["done"] for call in calls) and waited < PATIENCE
        if not due and not under_way:
            return calls
        time.sleep(0.02)


def _logged(server: Server, printed: int) -> bool:
    """Wait for a line in the server's log."""
    deadline = time.monotonic() + PATIENCE / 2
    while len(server.output()) <= printed:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
