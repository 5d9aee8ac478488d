"""Which requests are the user's own: a session, the right Host, no foreign page behind them. Pure.

A server on a loopback port is reached by every program and every user of the host, and by every page that the browser has
open. So:

- The URL that is printed has a token. The first request with it gets a cookie; after that the token opens nothing, so a URL
  in a history, a log or a list of processes is worthless.
- `Host` must be ours: a foreign name that resolves to 127.0.0.1 (DNS rebinding) has the attacker's name in it.
- `SameSite=Strict` keeps other sites' pages from using the cookie, but to a browser all ports of a host are one site. So
  `Sec-Fetch-Site` must say that our own page asks, and what changes anything must have our `Origin`.
- Cookies, too, are the same for all ports of a host: whoever runs a server on another port, and gets the browser to visit it,
  gets ours. So, where the kernel can tell, requests of another user's programs are refused whatever they bring. The name of
  the cookie has the port, so that two servers do not overwrite each other's.
"""

import enum
import hmac
import secrets
from collections.abc import Mapping, Set
from typing import Final, NamedTuple

TOKEN_BYTES: Final = 32

OURS: Final = ("", "none", "same-origin")
"""What `Sec-Fetch-Site` says of requests that no foreign page has caused; older browsers and programs send none."""


class Verdict(enum.Enum):
    """What becomes of a request: it is answered, gets a session first, or is refused."""

    PASS = enum.auto()
    LET_IN = enum.auto()
    TO_THE_PAGE = enum.auto()
    AGAIN = enum.auto()
    FOREIGN_USER = enum.auto()
    FOREIGN_HOST = enum.auto()
    FOREIGN_PAGE = enum.auto()
    USED_TOKEN = enum.auto()
    NO_SESSION = enum.auto()


class Asked(NamedTuple):
    """What the guard looks at. Names of headers are in lower case; `token` is None where the URL has none.

    `user` is the user whose program asks; None if that is not known.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    token: str | None = None
    user: int | None = None


class Guard:
    """Guards the server on `port` for these users; None if nobody can tell whose program asks.

    `token` lets one browser in, which then has the cookie `cookie` with the value `session`.
    """

    def __init__(self, port: int, *, users: Set[int] | None = None) -> None:
        self.users: Final = users
        self.hosts: Final = (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}")
        self.cookie: Final = f"flaskd_ctl_{port}"
        self.session: Final = secrets.token_urlsafe(TOKEN_BYTES)
        self.token: Final = secrets.token_urlsafe(TOKEN_BYTES)
        self.used = False

    def judge(self, asked: Asked) -> Verdict:
        """Decide on a request. A token that is good is used up by that."""
        headers = asked.headers
        if self.users is not None and asked.user not in self.users:
            return Verdict.FOREIGN_USER
        host = headers.get("host", "").lower()
        if host not in self.hosts:
            return Verdict.FOREIGN_HOST
        reads = asked.method in {"GET", "HEAD"}
        visits = (
            asked.method == "GET" and asked.path == "/"
        )  # a link to the page, wherever it stands, only shows the page
        if not visits and not self._is_ours(headers):
            return Verdict.FOREIGN_PAGE
        if not reads and headers.get("origin", "").lower() != f"http://{host}":
            return Verdict.FOREIGN_PAGE
        has_session = _same(asked.cookies.get(self.cookie, ""), self.session)
        if visits and asked.token is not None:
            if has_session:
                return Verdict.TO_THE_PAGE
            if self.used or not _same(asked.token, self.token):
                return Verdict.USED_TOKEN
            self.used = True
            return Verdict.LET_IN
        if has_session:
            return Verdict.PASS
        # A browser sends the cookie only where a page of ours leads: not behind a link elsewhere, in a webmail or an IDE in
        # the browser, nor where the URL with the token redirects from there.
        return Verdict.AGAIN if visits and not self._is_ours(headers) else Verdict.NO_SESSION

    @staticmethod
    def _is_ours(headers: Mapping[str, str]) -> bool:
        return headers.get("sec-fetch-site", "") in OURS


def _same(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), wanted.encode())
