"""What a proxy says about the time at which it received a request."""

import pytest
from hypothesis import given, strategies as st

from flaskd.http.queue_time import LONGEST, since_proxy

NOW = 1_767_225_600.5


@pytest.mark.parametrize(
    "header",
    ["1767225600.25", "t=1767225600.25", "1767225600250", "t=1767225600250", "t=1767225600250000"],
)
def test_the_header_is_read_as_proxies_send_it(header: str) -> None:
    """nginx sends seconds, HAProxy milliseconds, Apache microseconds."""
    assert since_proxy({"HTTP_X_REQUEST_START": header}, NOW) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("header", ["", "t=", "soon", "nan", "inf", "-1", "0", "12", "9" * 400, "1e999"])
def test_anything_else_says_nothing(header: str) -> None:
    """A day is the longest."""
    assert since_proxy({"HTTP_X_REQUEST_START": header}, NOW) is None


def test_a_proxy_whose_clock_is_ahead_has_kept_it_for_no_time() -> None:
    """Up to a second; else the header says nothing."""
    assert since_proxy({"HTTP_X_REQUEST_START": "1767225601"}, NOW) == 0.0
    assert since_proxy({"HTTP_X_REQUEST_START": "1767225602"}, NOW) is None
    assert since_proxy({}, NOW) is None


def test_of_several_values_the_nearest_proxy_has_the_last() -> None:
    """What a client sent stands before it (RFC 9110, section 5.3)."""
    assert since_proxy({"HTTP_X_REQUEST_START": "t=1, t=1767225600.25"}, NOW) == pytest.approx(0.25)
    assert since_proxy({"HTTP_X_REQUEST_START": "t=1767225600.25, soon"}, NOW) is None


@given(
    waited=st.floats(0, 86_399),
    now=st.floats(1.6e9, 4e9),
    unit=st.sampled_from([1, 1_000, 1_000_000]),
    prefix=st.sampled_from(["", "t="]),
)
def test_each_unit_is_told_by_its_size(waited: float, now: float, unit: int, prefix: str) -> None:
    """Whatever the time is, up to the year 2096: a number means one time only."""
    header = f"{prefix}{(now - waited) * unit:.3f}"
    assert since_proxy({"HTTP_X_REQUEST_START": header}, now) == pytest.approx(waited, abs=2e-3)


@given(st.text(max_size=40) | st.floats().map(str), st.floats(0, 4e9))
def test_no_header_is_an_error(header: str, now: float) -> None:
    """It says a time within a day, or nothing."""
    waited = since_proxy({"HTTP_X_REQUEST_START": header}, now)
    assert waited is None or 0 <= waited <= LONGEST
