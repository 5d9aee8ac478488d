"""What a case expects, as values; `faults` compares them with what was seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.http.client import Ending, Response, Seen, Step, reusable

ABSENT: Final = None
"""An expected value in `saw` and `headers`: it is not there."""

NOTHING: Final = 0
"""A status: the connection was closed without any response."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is right. A set has all that is right; `calls` is how often the application was called.

    `ending` is CLOSED where the connection has to be closed (after whole responses), RESET where a response must not look
    whole, None where it is kept, or said to be closed and closed, as the server likes. `saw` is asked of each call's record
    (app.py), `headers` and `body` of the first response. `lacks` is never on the wire. `logged`: the server's log says
    something. `interim`: 100 Continue has to come, or must not; None: it may. `complete` is false where no call may take the
    request's body for complete. `may_break_off`: the response may end early, as long as that shows.
    """

    status: frozenset[int] = frozenset({200})
    ending: Ending | None = None
    body: bytes | None = None
    calls: frozenset[int] = frozenset({1})
    saw: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Any] = field(default_factory=dict)
    lacks: bytes = b""
    logged: bool = False
    interim: bool | None = None
    complete: bool = True
    may_break_off: bool = False

    def but(self, **changes: Any) -> "Expected":
        """Return the same with some of it changed."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One case: what is sent, and what is right by `source`.

    Where the source leaves a choice that flaskd's engines have made, `ours` is their answer. `methods` are those of its
    requests. `old`: they are HTTP/1.0. `bounded`: it goes to a server with small limits and short timeouts.
    """

    name: str
    source: str
    steps: tuple[Step, ...]
    expected: Expected
    ours: Expected
    methods: tuple[str, ...] = ("GET",)
    old: bool = False
    bounded: bool = False


def faults(case: Case, expected: Expected, seen: Seen, calls: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say all that is wrong with what was seen; nothing where all is right. `calls` are the application's records."""
    wrong = [*_responses(case, expected, seen), *_calls(expected, calls)]
    if seen.fault:
        wrong.append(f"not HTTP: {seen.fault}")
    if expected.lacks and expected.lacks in seen.raw:
        wrong.append(f"{expected.lacks!r} is on the wire")
    if expected.interim is not None and expected.interim != (100 in seen.interim):
        wrong.append(f"interim responses {seen.interim}, expected {'one' if expected.interim else 'none'}")
    return wrong


def _responses(case: Case, expected: Expected, seen: Seen) -> list[str]:
    if seen.ending is Ending.LEFT:
        return []
    statuses = [each.status for each in seen.responses] or [NOTHING]
    wrong = [
        f"status {status}, expected {sorted(expected.status)}"
        for status in statuses
        if status not in expected.status
    ]
    if not seen.responses and seen.ending is Ending.OPEN:
        wrong.append("neither a response nor the end of the connection")
    for response in seen.responses:
        for once in ("date", "server", "content-length"):
            if len([name for name, _ in response.headers if name.lower() == once]) > 1:
                wrong.append(f"{once} twice")
        if case.old and response.get("transfer-encoding"):
            wrong.append("Transfer-Encoding for a client of HTTP/1.0")
    if seen.responses:
        wrong += _first(expected, seen.responses[0])
        wrong += _ending(case, expected, seen, seen.responses[-1])
    return wrong


def _first(expected: Expected, response: Response) -> list[str]:
    wrong = [
        f"header {name}: {response.get(name)!r}, expected {value!r}"
        for name, value in expected.headers.items()
        if not _fits(value, response.get(name))
    ]
    if expected.body is not None and response.status < 400 and response.body != expected.body:
        wrong.append(f"body {response.body[:60]!r}, expected {expected.body[:60]!r}")
    return wrong


def _ending(case: Case, expected: Expected, seen: Seen, last: Response) -> list[str]:
    if expected.ending is Ending.RESET and last.status < 400:
        broken = not last.whole and seen.ending is not Ending.OPEN
        return [] if broken else [f"the response looks whole, the connection {seen.ending.value}"]
    if not last.whole:
        if expected.may_break_off and seen.ending is not Ending.OPEN:
            return []
        return [f"the response is not complete, the connection {seen.ending.value}"]
    if expected.ending is Ending.CLOSED:
        return (
            [] if seen.ending is Ending.CLOSED else [f"the connection {seen.ending.value}, expected: closed"]
        )
    if seen.ending is Ending.KEPT:
        return []
    if seen.ending is not Ending.CLOSED:
        return [f"the connection {seen.ending.value}"]
    told = not reusable(last, case.old)
    return [] if told else ["the connection closed, and no response said so"]


def _calls(expected: Expected, calls: Sequence[Mapping[str, Any]]) -> list[str]:
    wrong = []
    if len(calls) not in expected.calls:
        paths = [call.get("PATH_INFO") for call in calls]
        wrong.append(
            f"the application was called {len(calls)} times {paths}, expected {sorted(expected.calls)}"
        )
    for call in calls:
        wrong += [
            f"the application saw {key} {call.get(key)!r}, expected {value!r}"
            for key, value in expected.saw.items()
            if not _fits(value, call.get(key))
        ]
        if not call["done"]:
            wrong.append("the application's call does not end")
        elif call["closable"] and call["closes"] != 1:
            wrong.append(f"close() was called {call['closes']} times")
        if call["complete"] and not expected.complete:
            wrong.append(f"the application took the body for complete: {call.get('body')!r}")
        if call["odd"] or not call["builtin"]:
            wrong.append(f"the environ is no plain dict of texts: {call['odd']}")
    return wrong


def _fits(expected: Any, got: Any) -> bool:
    if expected is any:
        return got is not None
    return got in expected if isinstance(expected, frozenset) else bool(got == expected)
