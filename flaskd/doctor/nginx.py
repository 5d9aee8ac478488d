"""Read nginx.conf: upstream groups, and the proxy settings where they are used (ngx_http_upstream, ngx_http_proxy)."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from flaskd.doctor.facts import Balancer
from flaskd.doctor.reading import NGINX, Unreadable, duration

KEEPALIVE_TIMEOUT: Final = "60s"
READ_TIMEOUT: Final = "60s"

DEEPEST: Final = 100
"""Levels of nested blocks; nginx itself has about five."""

TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|(?P<mark>[;{}])|(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<word>[^\s;{}]+)"""
)


class Directive(NamedTuple):
    """A directive: its words, and the block that follows them."""

    words: list[str]
    block: "list[Directive]"


def is_configuration(text: str) -> bool:
    """Recognise nginx's configuration by its blocks."""
    return bool(re.search(r"^\s*(upstream\s+\S+|server|http|location\s+\S+.*)\s*\{", text, re.MULTILINE))


def read(path: str, text: str, *, unseen: list[str]) -> Iterator[Balancer]:
    """Read each target of a proxy_pass: an upstream, or an address."""
    top = parse(path, text)
    groups = {each.words[1]: each.block for each in _all(top, "upstream") if len(each.words) > 1}
    passes = list(_passes(top, []))
    for target, scope in passes:
        host = re.sub(r"^https?://", "", target).partition("/")[0]
        yield _balancer(path, host, groups.get(host), scope)
    if not passes:
        unseen.append(f"{path}: nothing is passed on (proxy_pass)")


def parse(path: str, text: str) -> list[Directive]:
    """Parse a configuration. Raises Unreadable if its braces do not match or are nested too deep."""
    stack: list[list[Directive]] = [[]]
    words: list[str] = []
    for match in TOKEN.finditer(text):
        mark = match["mark"]
        if mark is None:
            if match["word"] or match["quoted"]:
                words.append(match["word"] or match["quoted"][1:-1])
        elif mark == "}":
            stack.pop()
            if not stack:
                break
        else:
            directive = Directive(words or [""], [])
            stack[-1].append(directive)
            words = []
            if mark == "{":
                stack.append(directive.block)
                if len(stack) > DEEPEST:
                    break
    if len(stack) != 1:
        raise Unreadable(f"{path}: its braces do not match, or are nested too deep", hint="see `nginx -t`")
    return stack[0]


def _all(directives: Sequence[Directive], name: str) -> Iterator[Directive]:
    for each in directives:
        if each.words[0] == name:
            yield each
        yield from _all(each.block, name)


def _passes(
    directives: Sequence[Directive], outer: Sequence[Directive]
) -> Iterator[tuple[str, list[Directive]]]:
    """Find each proxy_pass with the directives that apply to it, outermost first."""
    scope = [*outer, *directives]
    for each in directives:
        if each.words[0] == "proxy_pass" and len(each.words) > 1:
            yield each.words[1], scope
        if each.block and each.words[0] != "upstream":
            yield from _passes(each.block, scope)


def _balancer(
    path: str, host: str, group: Sequence[Directive] | None, scope: Sequence[Directive]
) -> Balancer:
    def last(name: str, among: Sequence[Directive]) -> list[str] | None:
        return next((each.words[1:] for each in reversed(among) if each.words[0] == name), None)

    where = f"{path}: upstream {host}" if group is not None else f"{path}: proxy_pass {host}"
    inside = list(group or [])
    closed = any(each.words[:3] == ["proxy_set_header", "Connection", "close"] for each in scope)
    kept = last("keepalive", inside) is not None and not closed
    idle = (last("keepalive_timeout", inside) or [KEEPALIVE_TIMEOUT])[0]
    read_timeout = (last("proxy_read_timeout", scope) or [READ_TIMEOUT])[0]
    retried = last("proxy_next_upstream", scope) or ["error", "timeout"]
    servers = max(1, sum(each.words[0] == "server" for each in inside))
    return Balancer(
        where=where,
        product="nginx",
        servers=servers,
        idle=duration(idle, NGINX, f"{where}: keepalive_timeout") if kept else 0.0,
        idle_from="keepalive_timeout"
        if last("keepalive_timeout", inside)
        else "keepalive_timeout, by default",
        patience=duration(read_timeout, NGINX, f"{where}: proxy_read_timeout"),
        patience_from="proxy_read_timeout",
        retried="error" in retried and servers > 1,
    )
