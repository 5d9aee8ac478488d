"""What applications give to start_response, checked; and how long clients may take."""

import pytest
from hypothesis import given, strategies as st

from flaskd.http.bodies import RATE, BrokenBody, MinRateTimeout, SlowBody
from flaskd.http.responses import BadResponse, check_start

TEXTS = st.text(
    st.one_of(st.characters(max_codepoint=0x120), st.sampled_from("\r\n\0:;, \t0123456789abc")), max_size=12
)


@given(TEXTS, st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_what_is_accepted_can_be_sent(status: str, headers: list[tuple[str, str]]) -> None:
    """It is one head, with as many lines as it says, whatever the texts; all else raises BadResponse."""
    try:
        start = check_start(status, headers)
    except BadResponse as error:
        start = None
        sentence = str(error)
    if start is None:
        assert sentence.isprintable()  # it goes into the log
        return
    lines = [start.status, *(f"{name}: {value}" for name, value in start.headers)]
    sent = "\r\n".join(lines).encode("latin-1")
    assert len(sent.splitlines()) == len(sent.split(b"\r\n")) == len(lines)
    assert b"\0" not in sent
    assert start.status[:3] == str(start.code)
    assert start.status[3] == " "


@pytest.mark.parametrize(
    "status",
    ["", "200OK", "0200 OK", "099 Low", "1000 High", "200 O\u2713", "2\u0660\u0660 OK", b"200 OK", 200],
)
def test_what_is_no_status_is_refused(status: object) -> None:
    """Three ASCII digits, and a reason behind a space."""
    with pytest.raises(BadResponse):
        check_start(status, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        [("A", 1)],
        [("A", b"1")],
        [(b"A", "1")],
        [("A:", "1")],
        [("Content-Length", "1"), ("content-length", "2")],
        [("Content-Length", "")],
        [("Content-Length", "1, 1")],
        [("Content-Length", "\u0661")],
        [("Content-Length", "\u00b2")],  # a digit to str.isdigit, and a byte of latin-1
        [("Content-Length", "1" * 19)],
    ],
)
def test_what_is_no_header_is_refused(headers: object) -> None:
    """Names and values are texts, and there is one length."""
    with pytest.raises(BadResponse):
        check_start("200 OK", headers)


def test_hop_by_hop_fields_are_left_out() -> None:
    """RFC 9110, section 7.6.1; but an application may ask for the connection's end."""
    start = check_start(
        "200 OK", [("Connection", "Close"), ("TE", "x"), ("A", "1"), ("transfer-encoding", "chunked")]
    )
    assert (start.headers, start.close) == ([("A", "1")], True)
    assert not check_start("200 OK", [("Connection", "keep-alive")]).close


@pytest.mark.parametrize(
    ("status", "bodiless", "length", "names"),
    [
        ("200 OK", False, 3, ["Content-Length"]),
        ("204 No Content", True, None, []),
        ("304 Not Modified", True, 3, ["Content-Length"]),
        ("103 Early Hints", True, None, []),
    ],
)
def test_some_statuses_have_no_body(
    status: str, length: int | None, names: list[str], *, bodiless: bool
) -> None:
    """RFC 9110, section 8.6: those without one say no length either, but for 304."""
    start = check_start(status, [("Content-Length", " 3")])
    assert (start.bodiless, start.length, [name for name, _ in start.headers]) == (bodiless, length, names)


def test_a_length_that_is_said_twice_alike_is_sent_once() -> None:
    """RFC 9110, section 8.6."""
    start = check_start("200 OK", [("Content-Length", "3"), ("Content-Length", "3")])
    assert (start.length, len(start.headers)) == (3, 1)


# --- time


def test_silence_is_bounded_by_the_timeout() -> None:
    """In all, not for each wait."""
    timeout = MinRateTimeout(10)
    timeout.transferred(0, 4)
    timeout.transferred(0, 4)
    assert timeout.remaining == pytest.approx(2)


def test_bytes_buy_time() -> None:
    """At the rate that everybody has to keep."""
    timeout = MinRateTimeout(10)
    timeout.transferred(RATE * 3, 8)
    assert timeout.remaining == pytest.approx(5)


@given(st.lists(st.tuples(st.integers(0, 10_000_000), st.floats(0, 5)), max_size=50))
def test_no_time_is_saved_up(moves: list[tuple[int, float]]) -> None:
    """Whoever was quick may be silent no longer than anybody; whoever keeps the rate is never cut off."""
    timeout = MinRateTimeout(10)
    for count, waited in moves:
        before = timeout.remaining
        timeout.transferred(count, waited)
        assert timeout.remaining <= 10
        assert timeout.remaining >= min(10, before - waited) - 1e-6
    if all(count >= waited * RATE for count, waited in moves):
        assert timeout.remaining == pytest.approx(10)


@given(st.floats(0.001, 100), st.integers(0, 5))
def test_a_client_below_the_rate_is_cut_off(step: float, count: int) -> None:
    """However it spreads its bytes, it has the timeout and a second for each RATE bytes."""
    timeout = MinRateTimeout(10)
    spent, sent = 0.0, 0
    while timeout.remaining > 0 and spent < 10_000:
        spent += max(step, 0.1)
        sent += count
        timeout.transferred(count, max(step, 0.1))
    assert spent <= 10 + sent / RATE + max(step, 0.1) + 0.001


@pytest.mark.parametrize(("error", "code"), [(BrokenBody, 400), (SlowBody, 408)])
def test_they_are_http_errors_and_os_errors(error: type[BrokenBody | SlowBody], code: int) -> None:
    """So that Flask answers with the status, and other frameworks know them as what reading may raise."""
    raised = error()
    assert isinstance(raised, OSError)
    assert raised.code == code
    assert str(code) in str(raised)
    assert raised.get_response().status_code == code
