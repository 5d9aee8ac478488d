"""Which requests are the user's own."""

import pytest

from flaskd_ctl.web.guard import Asked, Guard, Verdict

PORT = 8765
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"


@pytest.fixture
def guard() -> Guard:
    return Guard(PORT)


@pytest.mark.parametrize(
    ("user", "verdict"),
    [(1000, Verdict.PASS), (0, Verdict.PASS), (1001, Verdict.FOREIGN_USER), (None, Verdict.FOREIGN_USER)],
)
def test_another_users_program_is_refused_even_with_the_session(user: int | None, verdict: Verdict) -> None:
    """Its server on another port may have got the cookie from the browser."""
    guard = Guard(PORT, users={0, 1000})
    assert guard.judge(asked(guard)._replace(user=user)) is verdict


def test_another_users_program_does_not_use_the_token_up() -> None:
    guard = Guard(PORT, users={1000})
    stolen = asked(path="/", token=guard.token)
    assert guard.judge(stolen._replace(user=1001)) is Verdict.FOREIGN_USER
    assert guard.judge(stolen._replace(user=1000)) is Verdict.LET_IN


def test_where_nobody_can_tell_the_user_the_session_counts(guard: Guard) -> None:
    assert guard.judge(asked(guard)._replace(user=None)) is Verdict.PASS


def asked(
    guard: Guard | None = None,
    *,
    method: str = "GET",
    path: str = "/api/instances",
    token: str | None = None,
    **headers: str,
) -> Asked:
    """Make a request: with the session of `guard`, if there is one."""
    given = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    cookies = {} if guard is None else {guard.cookie: guard.session}
    return Asked(method, path, {name: value for name, value in given.items() if value}, cookies, token)


@pytest.mark.parametrize("host", [HOST, f"localhost:{PORT}", f"[::1]:{PORT}", f"LocalHost:{PORT}"])
def test_our_own_host_passes(guard: Guard, host: str) -> None:
    assert guard.judge(asked(guard, host=host)) is Verdict.PASS


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "localhost:80",
        f"127.0.0.1:{PORT}0",
        f"{HOST}.evil.example",
    ],
)
def test_a_foreign_host_is_refused_even_with_the_session(guard: Guard, host: str) -> None:
    assert guard.judge(asked(guard, host=host)) is Verdict.FOREIGN_HOST
    assert guard.judge(asked(host=host, path="/", token=guard.token)) is Verdict.FOREIGN_HOST
    assert not guard.used


def test_the_token_is_good_once(guard: Guard) -> None:
    assert guard.judge(asked(path="/", token=guard.token)) is Verdict.LET_IN
    assert guard.judge(asked(path="/", token=guard.token)) is Verdict.USED_TOKEN


def test_who_has_the_session_may_use_the_url_again(guard: Guard) -> None:
    guard.judge(asked(path="/", token=guard.token))
    assert guard.judge(asked(guard, path="/", token=guard.token)) is Verdict.TO_THE_PAGE


@pytest.mark.parametrize("token", ["", "x", "ä", "\udce4"])
def test_a_wrong_token_is_refused_and_uses_nothing_up(guard: Guard, token: str) -> None:
    assert guard.judge(asked(path="/", token=token)) is Verdict.USED_TOKEN
    assert guard.judge(asked(path="/", token=guard.token[:-1])) is Verdict.USED_TOKEN
    assert guard.judge(asked(path="/", token=guard.token)) is Verdict.LET_IN


def test_the_token_opens_only_the_page(guard: Guard) -> None:
    assert guard.judge(asked(token=guard.token)) is Verdict.NO_SESSION
    assert guard.judge(asked(method="POST", path="/", token=guard.token, origin=ORIGIN)) is Verdict.NO_SESSION
    assert guard.judge(asked(method="HEAD", path="/", token=guard.token)) is Verdict.NO_SESSION
    assert not guard.used


@pytest.mark.parametrize(
    "path", ["/", "/page/app.js", "/api/instances", "/api/instances/shop/live", "/nothing"]
)
def test_without_the_session_nothing_is_shown(guard: Guard, path: str) -> None:
    assert guard.judge(asked(path=path)) is Verdict.NO_SESSION
    assert guard.judge(asked(guard, path=path)) is Verdict.PASS


def test_the_session_of_another_run_is_worthless(guard: Guard) -> None:
    other = Guard(PORT)
    assert guard.judge(asked(other)) is Verdict.NO_SESSION


def test_a_foreign_token_of_the_same_length_is_no_session(guard: Guard) -> None:
    stolen = asked()._replace(cookies={guard.cookie: guard.token})
    assert guard.judge(stolen) is Verdict.NO_SESSION


@pytest.mark.parametrize("origin", [ORIGIN, ORIGIN.upper().replace("HTTP", "http")])
def test_our_page_may_post(guard: Guard, origin: str) -> None:
    request = asked(guard, method="POST", origin=origin, sec_fetch_site="same-origin")
    assert guard.judge(request) is Verdict.PASS


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://evil.example",
        f"https://{HOST}",
        "http://127.0.0.1:9999",
        f"http://localhost:{PORT}",
        f"{ORIGIN}.x",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_a_foreign_origin_may_not(guard: Guard, method: str, origin: str) -> None:
    request = asked(guard, method=method, origin=origin)
    assert guard.judge(request) is Verdict.FOREIGN_PAGE


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_of_another_port_or_site_reads_nothing(guard: Guard, site: str) -> None:
    """To a browser, all ports of a host are one site."""
    assert guard.judge(asked(guard, sec_fetch_site=site)) is Verdict.FOREIGN_PAGE
    assert guard.judge(asked(guard, path="/page/app.js", sec_fetch_site=site)) is Verdict.FOREIGN_PAGE
    post = asked(guard, method="POST", origin=ORIGIN, sec_fetch_site=site)
    assert guard.judge(post) is Verdict.FOREIGN_PAGE


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", ""])
def test_who_comes_from_elsewhere_without_the_cookie_is_sent_once_more(guard: Guard, site: str) -> None:
    """A browser keeps a strict cookie back behind a foreign link; from a page of ours it sends it, or has none."""
    foreign = site in {"cross-site", "same-site"}
    verdict = guard.judge(asked(path="/", sec_fetch_site=site))
    assert verdict is (Verdict.AGAIN if foreign else Verdict.NO_SESSION)
    assert guard.judge(asked(path="/page/app.js", sec_fetch_site=site)) is not Verdict.AGAIN


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", ""])
def test_a_link_from_anywhere_shows_the_page(guard: Guard, site: str) -> None:
    assert guard.judge(asked(guard, path="/", sec_fetch_site=site)) is Verdict.PASS
