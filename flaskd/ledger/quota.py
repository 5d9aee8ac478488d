"""Counts a worker's requests, so that it can ask to be replaced after a number of them; costs nothing if there is no quota."""

import itertools
import random
from collections.abc import Callable

from flaskd.ledger.middleware import Ledger


def set_quota(ledger: Ledger, requests: int, *, jitter: int, on_reached: Callable[[], None]) -> None:
    """Call `on_reached` after `requests` requests and up to `jitter` more, and again after each further batch of that size.

    It is called on the thread of the batch's last request, which has been answered.
    """
    limit = requests + random.randint(0, jitter)  # noqa: S311 - no secret
    numbers = itertools.count(1)  # counts without a lock
    on_end = ledger.on_end

    def ended() -> None:
        on_end()
        if not next(numbers) % limit:
            on_reached()

    ledger.on_end = ended
