"""`GET /metrics` of the health port.

Anybody who reaches the port may ask, and it takes milliseconds to write the page. So it is written in a thread, one page at a
time in each format, and used again for MAX_AGE.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from flaskd.metrics.openmetrics import OPENMETRICS, PLAIN
from flaskd.process.threads import in_thread
from flaskd_ctl.errors import ControlError

Take = Callable[[str], Callable[[], tuple[str, bytes]]]
"""See `Operable.metrics`."""

MAX_AGE: Final = 1.0
"""Seconds for which a page is used again."""


class MetricsPage:
    """The page with the numbers that `take` takes; on the running loop."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._pages: dict[str, tuple[float, asyncio.Task[tuple[int, str, bytes]]]] = {}

    async def get(self, accept: str) -> tuple[int, str, bytes]:
        """Return status, media type and content for a reader with this Accept header."""
        form = OPENMETRICS if OPENMETRICS.partition(";")[0] in accept else PLAIN
        taken, page = self._pages.get(form, (0.0, None))
        if page is None or (page.done() and time.monotonic() - taken > MAX_AGE):
            page = asyncio.get_running_loop().create_task(self._write(form))
            self._pages[form] = time.monotonic(), page
        return await asyncio.shield(page)

    async def _write(self, form: str) -> tuple[int, str, bytes]:
        try:
            return 200, *(await in_thread(self._take(form)))
        except ControlError as error:
            return 501, "text/plain; charset=utf-8", f"{error}: {error.hint}\n".encode()
