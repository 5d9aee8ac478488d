"""The text on the screen of a Textual program, line by line."""

import re
from typing import Any, Final
from xml.etree import ElementTree

CHARACTER: Final = 12.2
"""The width of a character in the picture that Textual draws (`App.export_screenshot`)."""

LINE: Final = 24.4
"""The height of a line in it."""


def screen_lines(app: Any) -> list[str]:
    """Read the lines of the screen, without spaces at their ends. Frames and bars are drawn in characters, too."""
    picture = ElementTree.fromstring(app.export_screenshot())
    rows: dict[int, list[tuple[float, str]]] = {}
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        line = re.fullmatch(r"url\(#.*-line-(\d+)\)", text.get("clip-path", ""))
        if line is not None:
            rows.setdefault(int(line[1]), []).append((float(text.get("x", "0")), text.text or ""))
    return [_line(rows.get(number, [])) for number in range(app.size.height)]


def _line(pieces: list[tuple[float, str]]) -> str:
    line = ""
    for x, text in sorted(pieces):
        line = line.ljust(round(x / CHARACTER)) + text
    return line.replace("\N{NO-BREAK SPACE}", " ").rstrip()
