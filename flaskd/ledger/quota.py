"""The number of requests after which a worker asks to be replaced: counted where they end, free where it is not set."""

import itertools
import random
from collections.abc import Callable

from flaskd.ledger.middleware import Ledger


def set_quota(ledger: Ledger, requests: int, *, jitter: int, on_reached: Callable[[], None]) -> None:
    """Call `on_reached` after `requests` of `ledger`, and up to `jitter` more; again after as many more, should it be needed.

    On the thread of the request that was the last of them, which has been answered.
    """
    limit = requests + random.randint(0, jitter)  # noqa: S311 - no secret
    numbers = itertools.count(1)  # counts without a lock
    on_end = ledger.on_end

    def ended() -> None:
        on_end()
        if not next(numbers) % limit:
            on_reached()

    ledger.on_end = ended
