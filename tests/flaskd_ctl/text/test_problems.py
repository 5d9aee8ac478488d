"""Errors, slow requests and cancelled ones as people read them."""

from typing import Any

from flaskd_ctl.text.results import as_text
from tests.wire.test_golden import golden


def shown(method: str, writer: str = "", **changes: Any) -> str:
    result = golden(method)["reply"]["result"]
    for rows in result.values():
        if isinstance(rows, list):
            rows[0].update(changes)
    return as_text(writer or method, result)


def test_errors_have_a_line_each() -> None:
    """How often, what, where, and the last request; long ones are cut."""
    head, line = shown("errors", message="x" * 100).splitlines()

    assert head.split() == ["ID", "LAST", "COUNT", "ERROR", "PLACE", "LAST", "REQUEST"]
    assert line.startswith("3f9a1c07")
    assert "  12     shop.OutOfStock: xxx" in line
    assert "/srv/shop/shop/orders.py:41, in reserve  POST /orders" in line
    assert "x" * 60 not in line
    assert shown("errors", exception="", file="", status=503).splitlines()[1].split()[-6:-2] == [
        "status",
        "503",
        "endpoint",
        "order",
    ]
    assert as_text("errors", {"errors": [], "dropped": 0}) == "no error"
    assert (
        as_text("errors", {"errors": [], "dropped": 2}).splitlines()[1] == "2 older kinds of errors not kept"
    )


def test_one_error_is_shown_in_full() -> None:
    """With its traceback; nothing in it can write on the terminal."""
    text = shown("errors", "error", traceback="Traceback\n  \x1b[2Jx", path="/\x1b[2J")

    assert text.splitlines()[0] == "error 3f9a1c07: shop.OutOfStock: no tea left"
    assert "  happened      12 times since " in text
    assert "answered 500" in text
    assert "endpoint order, worker 3, X-Request-ID 4bf92f3577b3-1742" in text
    assert text.endswith("traceback:\n  Traceback\n    \\x1b[2Jx")
    assert "\x1b" not in text
    assert as_text("error", {}) == "no such error"


def test_slow_requests_have_a_line_each() -> None:
    """The slowest first; with the worker, where there are workers."""
    head, line = shown("slow").splitlines()

    assert head.split()[:3] == ["TOOK", "ENDED", "STATUS"]
    assert line.startswith("12 s")
    assert line.split()[-5:] == ["GET", "/report", "report", "3", "4bf92f3577b3-1742"]
    assert "WORKER" in head
    assert "WORKER" not in shown("slow", worker=0)
    assert as_text("slow", {"requests": []}) == "no request has ended within the last hour"


def test_a_cancelled_request_is_named() -> None:
    """By its number, as in `requests`."""
    assert shown("cancel") == "cancelled request 1742 in worker 3 in 4 ms: GET /report"
