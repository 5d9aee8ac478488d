"""A worker asks to be replaced after a number of requests, which may change while it serves."""

from typing import Any

import pytest

from flaskd.ledger.middleware import Ledger
from flaskd.ledger.quota import Quota


class Served:
    """A ledger, and what its quota has said."""

    def __init__(self) -> None:
        self.ledger = Ledger(self.answer, lambda: None)
        self.reached: list[int] = []
        self.count = 0
        self.quota = Quota(self.ledger, lambda: self.reached.append(self.count))

    def answer(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    def serve(self, requests: int) -> None:
        for _ in range(requests):
            self.count += 1
            body: Any = self.ledger({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: lambda _: None)
            list(body)
            body.close()


@pytest.fixture
def served() -> Served:
    return Served()


def test_the_quota_is_reached_after_each_batch(served: Served) -> None:
    """Again, if the worker is still there."""
    served.quota.set(3, jitter=0)
    served.serve(7)
    assert served.reached == [3, 6]


def test_a_quota_that_comes_later_counts_from_the_first_request(served: Served) -> None:
    """A worker that has served more than that is to be replaced after its next one."""
    served.serve(5)
    served.quota.set(3, jitter=0)
    served.serve(1)
    assert served.reached == [6]


def test_a_quota_that_is_taken_away_is_never_reached(served: Served) -> None:
    """And one that is given again holds."""
    served.quota.set(3, jitter=0)
    served.serve(2)
    served.quota.set(0, jitter=0)
    served.serve(5)
    assert not served.reached
    served.quota.set(8, jitter=0)
    served.serve(1)
    assert served.reached == [8]


def test_the_same_quota_once_more_changes_nothing(served: Served) -> None:
    """Its random part is not drawn again: it could be put off for ever."""
    served.quota.set(10, jitter=1000)
    limit = served.quota._size
    for _ in range(20):
        served.quota.set(10, jitter=1000)
    assert served.quota._size == limit
