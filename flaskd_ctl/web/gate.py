"""The gate in front of the server: it asks the guard about each request, and gives each response its headers."""

import logging
from collections.abc import MutableMapping
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flaskd_ctl.errors import with_next_step
from flaskd_ctl.web.guard import Asked, Guard, Verdict
from flaskd_ctl.web.peer import Address, user_of
from flaskd_ctl.web.refusal import bug, refused

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every response."""

AGAIN: Final = '<!doctype html><title>flaskd</title><meta http-equiv="refresh" content="0; url=/">'
"""A page of ours that leads to the page: the browser then sends the cookie, if it has one."""

NEW_URL: Final = "stop `flaskd_ctl web` with Ctrl-C and start it again: it prints a new URL"

REFUSALS: Final = {
    Verdict.FOREIGN_USER: (
        403,
        "foreign_user",
        "this page is only for the user who has started `flaskd_ctl web`",
        "start your own; your role decides what it shows",
    ),
    Verdict.FOREIGN_HOST: (
        421,
        "foreign_host",
        "this server does not have the name or port in the request's Host header",
        "use the URL that `flaskd_ctl web` has printed; through `ssh -L`, forward the same port number",
    ),
    Verdict.FOREIGN_PAGE: (
        403,
        "foreign_origin",
        "this request does not come from flaskd's own page",
        "use the page at the URL that `flaskd_ctl web` has printed",
    ),
    Verdict.USED_TOKEN: (
        403,
        "used_token",
        "this URL has been used already, or is of another run of `flaskd_ctl web`",
        f"go on in the browser that opened it first; or {NEW_URL}",
    ),
    Verdict.NO_SESSION: (403, "no_session", "this browser has no session here", NEW_URL),
}
"""Status, name, sentence and next step of each refusal."""

log: Final = logging.getLogger("flaskd_ctl.web")


class Gate:
    """Lets requests through to `app` that `guard` takes for the user's own."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = False

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self._respond(Request(scope), receive, send_with_headers)
        except Exception:
            log.exception("%s %s failed; this is a bug in flaskd_ctl", scope["method"], scope["path"])
            if started:
                raise
            await bug()(scope, receive, send_with_headers)

    async def _respond(self, request: Request, receive: Receive, send: Send) -> None:
        verdict = self._guard.judge(self._asked(request))
        if verdict is Verdict.PASS:
            await self._app(request.scope, receive, send)
        elif verdict in {Verdict.LET_IN, Verdict.TO_THE_PAGE}:
            response = RedirectResponse("/", status_code=303)
            if verdict is Verdict.LET_IN:
                response.set_cookie(self._guard.cookie, self._guard.session, httponly=True, samesite="strict")
            await response(request.scope, receive, send)
        elif verdict is Verdict.AGAIN:
            await HTMLResponse(AGAIN)(request.scope, receive, send)
        else:
            await _refusal(request, verdict)(request.scope, receive, send)

    def _asked(self, request: Request) -> Asked:
        scope = request.scope
        return Asked(
            method=request.method,
            path=scope["path"],
            headers=request.headers,
            cookies=request.cookies,
            token=request.query_params.get("token"),
            user=None if self._guard.users is None else _user(scope.get("client"), scope.get("server")),
        )


def _user(client: Address | None, server: Address | None) -> int | None:
    try:
        return None if client is None or server is None else user_of(client, server)
    except OSError:
        return None


def _refusal(request: Request, verdict: Verdict) -> Response:
    """Refuse: in JSON to the page's own calls, in plain text to a person."""
    status, name, sentence, hint = REFUSALS[verdict]
    if request.scope["path"].startswith("/api/"):
        return refused(status, name, sentence, hint)
    text = with_next_step(f"{sentence[0].upper()}{sentence[1:]}", hint)
    return PlainTextResponse(f"{text}\n", status_code=status)
