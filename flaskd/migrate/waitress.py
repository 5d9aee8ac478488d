"""waitress-serve: its command line is all that it has."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from flaskd.migrate.arguments import parse
from flaskd.migrate.option import (
    Given,
    Here,
    Note,
    Option,
    Set,
    Step,
    Takes,
    Values,
    elsewhere,
    missing,
    to,
    unneeded,
    with_another,
)
from flaskd.settings.schema import FIELDS

NAME: Final = "waitress"
BUFFERS: Final = "flaskd's own loop has fixed buffers (page HTTP engines)"
PROXIES: Final = "`trusted_proxies` believes all X-Forwarded-* headers and X-Request-Start, and no others"


def _bind(_: Any, values: Values) -> Iterator[Step]:
    """`unix_socket` wins, then `listen`, then `host` and `port`; a wildcard is both families."""
    if values["unix_socket"]:
        yield Set("bind", f"unix:{values['unix_socket']}")
        return
    given = values["listen"] or [f"{values['host']}:{values['port']}"]
    words = [word for each in given for word in each.split()]
    yield Set("bind", tuple(f"0.0.0.0{word[1:]}" if word.startswith("*:") else word for word in words))
    if any(word.startswith("*:") for word in words):
        yield Note("`*` was taken for IPv4: add `[::]:PORT` to `bind` for IPv6")


def _proxies(_: Any, values: Values) -> Iterator[Step]:
    """One proxy, or the number that was given."""
    if not values["trusted_proxy"]:
        return
    yield Set("trusted_proxies", values["trusted_proxy_count"] or 1)
    yield Note(
        "waitress believes the chosen headers of one address; flaskd believes all X-Forwarded-* headers of the nearest proxy, "
        "whatever its address: let only the proxy reach flaskd, and let it overwrite them"
    )


def _header_size(value: Any, _: Values) -> Iterator[Step]:
    if value > FIELDS["max_request_header_size"].default:
        yield Set("max_request_header_size", value)


def _channel_timeout(value: Any, _: Values) -> Iterator[Step]:
    yield Set("head_timeout", float(value))
    yield Note("it is for requests and pauses; `body_timeout` and `write_timeout` limit the rest")


def _threads(value: Any, _: Values) -> Iterator[Step]:
    """With the engine, which would be granian where that is installed."""
    yield Set("engine", "waitress")
    yield Set("threads", value)


def _application(value: Any, values: Values) -> Iterator[Step]:
    """With --call it is a factory."""
    if value:
        yield Set("app", f"{value}()" if values["call"] and not value.endswith(")") else value)


def _switch(name: str, default: bool, row: Here) -> Option:
    """Make the row of an option that is `--name` or `--no-name`; the one that changes the default is listed."""
    spelt = name.replace("_", "-")
    return Option(
        name, (f"--no-{spelt}" if default else f"--{spelt}",), default=default, takes=Takes.NOTHING, here=row
    )


def _number(name: str, default: int, row: Here, *, always: bool = False) -> Option:
    return Option(name, (f"--{name.replace('_', '-')}",), default=default, always=always, here=row)


OPTIONS: Final = (
    Option("application", here=to("app", convert=_application)),
    Option(
        "call",
        ("--call",),
        default=False,
        takes=Takes.NOTHING,
        here=with_another("app", "a factory: `shop:create_app()`"),
    ),
    Option(
        "listen",
        ("--listen",),
        takes=Takes.VALUES,
        always=True,
        here=to("bind", "0.0.0.0:8080 without it, as for waitress", convert=_bind),
    ),
    Option("host", ("--host",), default="0.0.0.0", here=with_another("bind")),
    _number("port", 8080, with_another("bind")),
    Option("unix_socket", ("--unix-socket",), here=with_another("bind")),
    Option(
        "unix_socket_perms",
        ("--unix-socket-perms",),
        default=0o600,
        here=elsewhere("`UMask=` in the unit, or a socket that systemd opens (`SocketMode=`)"),
    ),
    _switch("ipv4", True, elsewhere("`bind` names the addresses")),
    _switch("ipv6", True, elsewhere("`bind` names the addresses")),
    Option("sockets", here=elsewhere("systemd passes sockets: `flaskd systemd unit --socket`")),
    Option("server_name", here=unneeded("the request's Host counts")),
    _number(
        "threads",
        4,
        to("threads", "of the engine waitress, which the file names", convert=_threads),
        always=True,
    ),
    _number("backlog", 1024, to("backlog")),
    _number("connection_limit", 100, unneeded("1024 connections, or what the limit of descriptors leaves")),
    _number("channel_timeout", 120, to("head_timeout", convert=_channel_timeout)),
    _number("cleanup_interval", 30, unneeded("connections are closed when their time is over")),
    _number(
        "max_request_header_size",
        262_144,
        to("max_request_header_size", "if 64 KiB are too few", convert=_header_size),
    ),
    _number(
        "max_request_body_size",
        1_073_741_824,
        to("max_request_body_size", "flaskd has no limit by default"),
        always=True,
    ),
    Option(
        "trusted_proxy",
        ("--trusted-proxy",),
        always=True,
        here=to("trusted_proxies", "a number of proxies in place of an address", convert=_proxies),
    ),
    Option("trusted_proxy_count", ("--trusted-proxy-count",), here=with_another("trusted_proxies")),
    Option("trusted_proxy_headers", ("--trusted-proxy-headers",), takes=Takes.VALUES, here=missing(PROXIES)),
    _switch("log_untrusted_proxy_headers", False, missing(PROXIES)),
    _switch(
        "clear_untrusted_proxy_headers",
        True,
        missing("headers of strangers reach the application, which must not believe them"),
    ),
    Option(
        "url_scheme",
        ("--url-scheme",),
        default="http",
        here=elsewhere("X-Forwarded-Proto from the proxy, with `trusted_proxies`"),
    ),
    Option(
        "url_prefix",
        ("--url-prefix",),
        default="",
        here=elsewhere("X-Forwarded-Prefix from the proxy, with `trusted_proxies`"),
    ),
    Option(
        "ident",
        ("--ident",),
        default="waitress",
        here=missing("`@app.after_request` in the application can set a Server header"),
    ),
    _switch("expose_tracebacks", False, missing("never: `flaskd_ctl errors` shows them to you")),
    _switch("log_socket_errors", True, unneeded("a client that leaves is no error")),
    *(
        _number(name, default, unneeded(BUFFERS))
        for name, default in (
            ("recv_bytes", 8192),
            ("send_bytes", 18_000),
            ("outbuf_overflow", 1_048_576),
            ("outbuf_high_watermark", 16_777_216),
            ("inbuf_overflow", 524_288),
            ("asyncore_loop_timeout", 1),
            ("channel_request_lookahead", 0),
        )
    ),
    _switch("asyncore_use_poll", False, unneeded("epoll, where there is one")),
)


def read(words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Values:
    """Return the options of the command line. Raises click.UsageError."""
    typed = parse("waitress-serve", OPTIONS, words)
    if len(typed.words) != 1:
        raise click.UsageError("name one application: flaskd migrate waitress [OPTIONS] shop:app")
    return Values(OPTIONS, {**typed.given, "application": Given(typed.words[0], "the command line")})
