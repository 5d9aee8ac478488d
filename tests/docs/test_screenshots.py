"""The screenshots of the documentation can be drawn, and show what they are for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import browser
from tests.support.needs import requires

pytest.importorskip("starlette")
pytest.importorskip("textual")

ROOT = Path(__file__).parent.parent.parent
IMAGES = ROOT / "docs" / "images"
SHOWN = {
    "top-wide": ["1 Workers", "2 Requests", "/reports/2026", "no tea left", "stock is low", "Quit"],
    "top-endpoints": ["3 Endpoints", "report", "search", "P99▼", "req/s", "Quit"],
}
WIDTHS = {"web-wide": 1280, "web-narrow": 360, "web-profile": 960}
"""Pixels, at least."""

LARGEST = 150_000
"""Bytes of a picture."""


def width(picture: Path) -> int:
    """Read the width from a WebP file (RFC 9649, 2.5 and 2.7; RFC 6386, 9.1)."""
    content = picture.read_bytes()
    assert (content[:4], content[8:12]) == (b"RIFF", b"WEBP")
    if content[12:16] == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1
    assert content[12:16] == b"VP8 "
    return int.from_bytes(content[26:28], "little") & 0x3FFF


@pytest.mark.live
@pytest.mark.timeout(400)
@requires("chromium")
def test_screens_are_drawn_from_a_real_instance_under_load(tmp_path: Path) -> None:
    """The script itself waits for what the pictures of the page are to show."""
    try:
        browser.playwright()
    except browser.NotInstalledError as error:
        pytest.skip(str(error))
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "screenshots.py"), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=380,
    )
    for theme in ("dark", "light"):
        for name, texts in SHOWN.items():
            drawn = (tmp_path / f"{name}-{theme}.svg").read_text().replace("&#160;", " ")
            assert [text for text in texts if text not in drawn] == []
        for name, least in WIDTHS.items():
            assert width(tmp_path / f"{name}-{theme}.webp") >= least
    assert {path.name for path in IMAGES.glob("*-*.*")} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("picture", sorted(IMAGES.glob("*.webp")), ids=lambda path: path.name)
def test_a_picture_is_quick_to_load(picture: Path) -> None:
    assert picture.stat().st_size <= LARGEST
