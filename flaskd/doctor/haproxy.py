"""Read haproxy.cfg: each group of servers (HAProxy's configuration manual, sections 4 and 5)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from flaskd.doctor.facts import NEVER, Balancer
from flaskd.doctor.reading import HAPROXY, duration, number, split

SECTIONS: Final = {
    "global", "defaults", "frontend", "backend", "listen", "resolvers", "peers", "userlist", "cache", "program", "mailers",
}  # fmt: skip
INTER: Final = 2.0
PURGE: Final = 5.0
ROUNDS: Final = 3
"""Periods of pool-purge-delay after which an idle connection to a server is closed (seen with 2.6: 15 s by default)."""

Line = list[str]
Last = Callable[..., Line | None]


def is_configuration(text: str) -> bool:
    """Recognise haproxy.cfg by its sections: their names begin a line, and there are no braces."""
    first = {line.split()[0] for line in text.splitlines() if line[:1].isalpha()}
    return bool(first & {"defaults", "backend", "listen", "frontend"}) and "{" not in text.split("\n", 1)[0]


def read(path: str, text: str, *, unseen: list[str]) -> Iterator[Balancer]:
    """Read each backend or listen section that has servers, with the defaults that apply to it."""
    defaults: list[Line] = []
    found = 0
    for name, lines in _sections(text):
        if name[0] == "defaults":
            defaults = lines
        elif name[0] in {"backend", "listen"} and _servers(lines):
            found += 1
            yield _balancer(f"{path}: {' '.join(name[:2])}", defaults + lines)
    if not found:
        unseen.append(f"{path}: no backend has a server")


def _sections(text: str) -> list[tuple[Line, list[Line]]]:
    """Split a configuration into sections, each with its first line and the others."""
    sections: list[tuple[Line, list[Line]]] = []
    for line in text.splitlines():
        words = split(line, comments=True)
        if words and words[0] in SECTIONS and not line[:1].isspace():
            sections.append((words, []))
        elif words and sections:
            sections[-1][1].append(words)
    return sections


def _servers(lines: Sequence[Line]) -> list[Line]:
    return [words for words in lines if words[0] in {"server", "server-template"}]


def _balancer(where: str, lines: Sequence[Line]) -> Balancer:
    def last(*name: str) -> Line | None:
        """Return what follows the last line that begins with `name`; None if there is none, or it is negated."""
        value: Line | None = None
        for words in lines:
            if tuple(words[: len(name)]) == name:
                value = words[len(name) :]
            elif words[0] == "no" and tuple(words[1 : 1 + len(name)]) == name:
                value = None
        return value

    def timeout(name: str) -> float | None:
        value = last("timeout", name)
        return duration(value[0], HAPROXY, f"{where}: timeout {name}") if value else None

    servers = _servers(lines)
    # default-server lines apply to the servers after them; a server's own options come last
    template = [word for words in lines if words[0] == "default-server" for word in words[1:]]
    options = [template + words[3 + (words[0] == "server-template") :] for words in servers]
    checked, notices, notices_from = _notice(where, options, kind=_kind(last))
    retries = last("retries")
    patience = timeout("server")
    idle, idle_from = _idle(where, options, last=last, timeout=timeout)
    return Balancer(
        where=where,
        product="HAProxy",
        servers=sum(_count(words) for words in servers),
        idle=idle,
        idle_from=idle_from,
        patience=NEVER if patience is None else patience,
        patience_from="timeout server",
        checked=checked,
        notices=notices,
        notices_from=notices_from,
        counts_in=max(_counts_in(where, each) for each in options),
        retried=last("option", "redispatch") is not None
        and (not retries or number(retries[0], f"{where}: retries") > 0),
    )


def _kind(last: Last) -> str:
    """Return what a health check asks for: a connection (tcp), whether it is alive (livez), or more (http)."""
    if last("option", "httpchk") is None:
        return "tcp"
    asked = [*(last("option", "httpchk") or []), *(last("http-check", "send") or [])]
    return "livez" if any(word.startswith("/livez") for word in asked) else "http"


def _count(words: Line) -> int:
    """Return the number of servers that a line makes: `server-template web 3 …` or `1-3`."""
    if words[0] == "server":
        return 1
    low, _, high = "".join(words[2:3]).partition("-")
    if not low.isdecimal():
        return 1
    return int(high) - int(low) + 1 if high.isdecimal() else int(low)


def _option(options: Line, name: str) -> str | None:
    """Return the last value of a server's option."""
    return next((options[at + 1] for at in range(len(options) - 2, -1, -1) if options[at] == name), None)


def _interval(where: str, options: Line, name: str, default: float) -> float:
    text = _option(options, name)
    return default if text is None else duration(text, HAPROXY, f"{where}: {name}")


def _notice(where: str, options: Sequence[Line], *, kind: str) -> tuple[str, float, str]:
    """Return which check notices that a server leaves, and after how long for the slowest server."""
    slowest = ("agent", 0.0, "")
    for each in options:
        inter = _interval(where, each, "inter", INTER)
        if "agent-check" in each:
            agent = _interval(where, each, "agent-inter", inter)
            found = ("agent", agent, f"agent-inter {agent:g} s")
        elif "check" in each:
            fall = number(_option(each, "fall") or 3, f"{where}: fall")
            fast = _interval(where, each, "fastinter", inter)
            found = (kind, inter + fast * (fall - 1), f"inter {inter:g} s, fall {fall}")
        else:
            return "", NEVER, ""
        slowest = max(slowest, found, key=lambda each: each[1])
    return slowest


def _counts_in(where: str, options: Line) -> float:
    if "check" not in options:
        return 0.0
    rise = number(_option(options, "rise") or 2, f"{where}: rise")
    return rise * _interval(where, options, "inter", INTER)


def _idle(
    where: str, options: Sequence[Line], *, last: Last, timeout: Callable[[str], float | None]
) -> tuple[float, str]:
    """Return how long a connection to a server is kept idle (in the pool, or with its client), and by which timeout."""
    if any(last("option", name) is not None for name in ("httpclose", "http-server-close")):
        return 0.0, ""
    names = ["client", "server"]
    if (last("mode") or ["tcp"])[0] == "http":
        if (last("http-reuse") or ["safe"])[0] != "never":
            delay = max(_interval(where, each, "pool-purge-delay", PURGE) for each in options)
            return ROUNDS * delay, f"pool-purge-delay {delay:g} s, {ROUNDS} times"
        names = ["http-keep-alive", "http-request", "client"]  # the first one that is set
    found = ((value, f"timeout {name}") for name in names if (value := timeout(name)) is not None)
    return next(found, (NEVER, "no timeout"))
