"""What a proxy says about the time at which it received a request."""

import pytest

from flaskd.http.queue_time import since_proxy

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
