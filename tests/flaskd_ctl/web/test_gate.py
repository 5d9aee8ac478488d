"""Who is let in, over HTTP; and what every response forbids."""

import socket

import pytest

from flaskd_ctl.errors import Failed
from tests.flaskd_ctl.web.served import served, shop

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from flaskd_ctl.web.server import listening


def test_the_url_gives_a_cookie_once_and_leads_to_the_page() -> None:
    with served(shop()) as web:
        first = web.ask(f"/?token={web.guard.token}", headers={})
        assert first.status == 303
        assert first.headers["Location"] == "/"
        cookie = first.headers["Set-Cookie"]
        assert cookie.startswith(f"flaskd_ctl_{web.port}=")
        assert "HttpOnly" in cookie
        assert "path=/" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert web.guard.token not in cookie

        stolen = web.ask(f"/?token={web.guard.token}", headers={})
        assert stolen.status == 403
        assert "Set-Cookie" not in stolen.headers
        assert "prints a new URL" in stolen.body.decode()

        again = web.ask(f"/?token={web.guard.token}", headers={"Cookie": cookie.partition(";")[0]})
        assert again.status == 303
        page = web.ask("/", headers={"Cookie": cookie.partition(";")[0]})
        assert page.status == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"


def test_behind_a_foreign_link_the_browser_is_led_to_the_page_by_a_page_of_ours() -> None:
    pair = shop()
    with served(pair) as web:
        again = web.ask("/", headers={"Sec-Fetch-Site": "cross-site"})
        assert again.status == 200
        assert b'http-equiv="refresh" content="0; url=/"' in again.body
        assert b"shop" not in again.body
        assert "Content-Security-Policy" in again.headers
        assert web.ask("/", headers={"Sec-Fetch-Site": "same-origin"}).status == 403


@pytest.mark.parametrize("path", ["/", "/page/index.html", "/api/instances", "/api/instances/shop/live"])
def test_without_the_cookie_nothing_is_shown_and_nobody_is_asked(path: str) -> None:
    pair = shop()
    with served(pair) as web:
        refusal = web.ask(path, headers={})
        assert refusal.status == 403
        assert b"shop" not in refusal.body
    assert [] == pair[0].asked == pair[1].asked


def test_a_foreign_host_is_misdirected() -> None:
    with served(shop()) as web:
        refusal = web.ask("/api/instances", headers=web.session | {"Host": f"evil.example:{web.port}"})
        assert (refusal.status, refusal.error) == (421, "foreign_host")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", ""])
def test_a_foreign_origin_calls_nothing(origin: str) -> None:
    pair = shop()
    with served(pair, allow_changes=True) as web:
        headers = {name: value for name, value in web.own.items() if name != "Origin"}
        refusal = web.call("drain", headers=headers | ({"Origin": origin} if origin else {}))
        assert (refusal.status, refusal.error) == (403, "foreign_origin")
        assert web.call("drain").status == 200
    assert pair[1].changes() == [("drain", {})]


@pytest.mark.parametrize("path", ["/", "/page/index.html", "/api/instances", "/nothing", "/page/nothing.js"])
def test_every_response_forbids_what_the_page_does_not_need(path: str) -> None:
    with served(shop()) as web:
        for answer in (web.ask(path), web.ask(path, headers={})):
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "Server" not in answer.headers


@pytest.mark.parametrize("name", ["..%2f__init__.py", "%2e%2e/files.py", "nothing.js", "", "index.html%00"])
def test_only_files_of_the_page_are_given(name: str) -> None:
    with served(shop()) as web:
        refusal = web.ask(f"/page/{name}")
        assert refusal.status == 404
        assert refusal.error


def test_it_listens_on_loopback_only() -> None:
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert (
            listener.proto == socket.IPPROTO_TCP
        )  # without it, asyncio sets no TCP_NODELAY: 40 ms a response


def test_a_busy_port_is_said_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(Failed, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            listening(port),
        ):
            pass
