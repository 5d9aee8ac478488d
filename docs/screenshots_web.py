"""Take the pictures of the page of `flaskd_ctl web` for `screenshots.py`, in a Chromium without a window."""

import base64
import os
import re
from collections.abc import Callable
from typing import Any, Final

from tests.support import browser
from tests.support.web import serving

WIDE: Final = {"width": 1280, "height": 800}
NARROW: Final = {"width": 360, "height": 756}
POINTS: Final = 7
"""Points of a chart that are enough to look at: one for each ten seconds."""

PATIENCE: Final = 120_000
"""Milliseconds."""


def draw(runtime_dir: str, images: str, *, happens: Callable[[], None]) -> None:
    """Draw the instance `shop`: the overview, wide and narrow, and a profile, each light and dark.

    `happens` makes events, which a page shows from the time on at which it is opened.
    """
    options = ["--allow-changes", "--runtime-dir", runtime_dir, "--name", "shop"]
    with browser.chromium() as chromium, serving(*options) as url:
        session = None
        for theme in ("dark", "light"):
            context = chromium.new_context(
                viewport=WIDE, color_scheme=theme, reduced_motion="reduce", storage_state=session
            )
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.goto(url if session is None else url.partition("?")[0])
            session = context.storage_state()
            page.get_by_role("heading", name="Newest events").wait_for()
            happens()
            _overview(page)
            _save(page.locator("body"), images, f"web-wide-{theme}")
            page.set_viewport_size(NARROW)
            _save(page.locator("html"), images, f"web-narrow-{theme}", height=NARROW["height"])
            page.set_viewport_size(WIDE)
            _save(_profile(page), images, f"web-profile-{theme}")
            context.close()


def _overview(page: Any) -> None:
    """Wait until the charts and the lists have something to show."""
    page.locator("figure").first.locator("tbody tr").nth(POINTS - 1).wait_for(state="attached")
    page.get_by_role("link", name="GET /reports/2026").first.wait_for()
    page.get_by_role("link", name="ValueError: no tea left").wait_for()
    page.get_by_text(re.compile("worker .* is serving")).first.wait_for()


def _profile(page: Any) -> Any:
    """Take a profile, and return the panel with its flame graph, the keyboard on a call."""
    page.get_by_role("link", name="Profile", exact=True).click()
    page.get_by_label("Seconds").fill("3")
    page.get_by_role("button", name="Start").click()
    call = page.get_by_role("group", name="Flame graph").get_by_role("button", name=re.compile(r"^add_up \("))
    call.first.focus()
    return page.locator("section", has=page.get_by_role("heading", name="Flame graph"))


def _save(element: Any, images: str, name: str, *, height: int = 0) -> None:
    """Save a picture of an element, or of its upper part. Playwright itself writes no WebP, which is a third of a PNG."""
    box = element.evaluate(
        """(one) => {
            const {left, top, width, height} = one.getBoundingClientRect();
            return {x: left + scrollX, y: top + scrollY, width, height};
        }"""
    )
    clip = {**box, "height": height or box["height"], "scale": 1}
    session = element.page.context.new_cdp_session(element.page)
    options = {"format": "webp", "quality": 90, "captureBeyondViewport": True, "clip": clip}
    picture = session.send("Page.captureScreenshot", options)
    with open(os.path.join(images, f"{name}.webp"), "wb") as file:
        file.write(base64.b64decode(picture["data"]))
