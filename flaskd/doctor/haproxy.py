"""haproxy.cfg: what it does with each group of servers (HAProxy's configuration manual, sections 4 and 5)."""

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
"""Of pool-purge-delay, in which an idle connection to a server is closed (seen with 2.6: 15 s by default)."""

Line = list[str]


def is_configuration(text: str) -> bool:
    """Tell haproxy.cfg by its sections: names that begin a line, with nothing like a brace."""
    first = {line.split()[0] for line in text.splitlines() if line[:1].isalpha()}
    return bool(first & {"defaults", "backend", "listen", "frontend"}) and "{" not in text.split("\n", 1)[0]


def read(path: str, text: str, *, unseen: list[str]) -> Iterator[Balancer]:
    """Read each backend or listen section that has servers, with the defaults that hold there."""
    defaults: list[Line] = []
    found = 0
    for name, lines in _sections(text):
        if name[0] == "defaults":
            defaults = lines
        elif name[0] in {"backend", "listen"} and _servers(lines):
            found += 1
            yield _balancer(f"{path}: {' '.join(name[:2])}", defaults + lines)
    if not found:
        unseen.append(f"{path}: no backend of it has a server")


def _sections(text: str) -> Iterator[tuple[Line, list[Line]]]:
    name: Line = []
    lines: list[Line] = []
    for line in text.splitlines():
        words = split(line, comments=True)
        if not words:
            continue
        if words[0] in SECTIONS and not line[:1].isspace():
            if name:
                yield name, lines
            name, lines = words, []
        else:
            lines.append(words)
    if name:
        yield name, lines


def _servers(lines: Sequence[Line]) -> list[Line]:
    return [words for words in lines if words[0] in {"server", "server-template"}]


def _balancer(where: str, lines: Sequence[Line]) -> Balancer:
    def said(*name: str) -> Line | None:
        """Return what follows the last line that begins with `name`, None where it is negated or not there."""
        value: Line | None = None
        for words in lines:
            if tuple(words[: len(name)]) == name:
                value = words[len(name) :]
            elif words[0] == "no" and tuple(words[1 : 1 + len(name)]) == name:
                value = None
        return value

    def timeout(name: str) -> float | None:
        value = said("timeout", name)
        return duration(value[0], HAPROXY, f"{where}: timeout {name}") if value else None

    servers = _servers(lines)
    # default-server lines hold for the servers after them; what a server says itself comes last
    template = [word for words in lines if words[0] == "default-server" for word in words[1:]]
    options = [template + words[3 + (words[0] == "server-template") :] for words in servers]
    http = (said("mode") or ["tcp"])[0] == "http"
    checked, notices, notices_from = _notice(where, options, kind=_kind(said))
    retries = said("retries")
    patience = timeout("server")
    idle, idle_from = _idle(
        where, options, http=http, reuse=(said("http-reuse") or ["safe"])[0], timeout=timeout
    )
    if said("option", "httpclose") is not None or said("option", "http-server-close") is not None:
        idle, idle_from = 0.0, ""
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
        retried=said("option", "redispatch") is not None
        and (not retries or number(retries[0], f"{where}: retries") > 0),
        retried_from="option redispatch",
    )


def _kind(said: Callable[..., Line | None]) -> str:
    """Tell what a health check asks for: a connection, whether it lives, or something that may tell more."""
    if said("option", "httpchk") is None:
        return "tcp"
    asked = [*(said("option", "httpchk") or []), *(said("http-check", "send") or [])]
    return "livez" if any(word.startswith("/livez") for word in asked) else "http"


def _count(words: Line) -> int:
    """Return how many servers a line makes: `server-template web 3 …` or `1-3`."""
    if words[0] == "server":
        return 1
    low, _, high = "".join(words[2:3]).partition("-")
    if not low.isdecimal():
        return 1
    return int(high) - int(low) + 1 if high.isdecimal() else int(low)


def _option(options: Line, name: str) -> str | None:
    """Return the value of a server's option, the last one given."""
    return next((options[at + 1] for at in range(len(options) - 2, -1, -1) if options[at] == name), None)


def _interval(where: str, options: Line, name: str, default: float) -> float:
    text = _option(options, name)
    return default if text is None else duration(text, HAPROXY, f"{where}: {name}")


def _notice(where: str, options: Sequence[Line], *, kind: str) -> tuple[str, float, str]:
    """Tell by what, and after how long at the most, the slowest of the servers is seen to leave."""
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
    where: str, options: Sequence[Line], *, http: bool, reuse: str, timeout: Callable[[str], float | None]
) -> tuple[float, str]:
    """Tell how long a connection to a server is kept idle: in the pool, or with its client (`http-reuse never`, TCP)."""
    if not http:
        names = ["client", "server"]
    elif reuse == "never":
        # the first one that is set (timeout http-keep-alive)
        names = ["http-keep-alive", "http-request", "client"]
    else:
        delay = max(_interval(where, each, "pool-purge-delay", PURGE) for each in options)
        return ROUNDS * delay, f"pool-purge-delay {delay:g} s, {ROUNDS} times"
    for name in names:
        value = timeout(name)
        if value is not None:
            return value, f"timeout {name}"
    return NEVER, "no timeout"
