"""Tables, colours and characters that are safe on a terminal.

Much of the text comes from outside (the path of a request, a client's address). Control characters are escaped, so that nobody
can control the operator's terminal through a URL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

MIB: Final = 1024 * 1024
PLAIN: Final = "0"
COLOURS: Final = {
    "running": "32",
    "ready": "32",
    "starting": "33",
    "draining": "33",
    "stopping": "33",
    "degraded": "31",
    "serving": "32",
    "leaving": "33",
    "no answer": "31",
    "stale": "31",
    "unreachable": "31",
    "not permitted": "33",
}
"""ANSI colour of each state; other words have none."""


SHORTEST: Final = 12
"""Texts that are no longer are not cut."""

SHORTEST_HEAD: Final = 3
"""Characters that are left of each head."""

_terminal_width = 0


def use_terminal_width(columns: int) -> None:
    """Cut tables to this many columns; 0: do not cut them."""
    global _terminal_width
    _terminal_width = columns


def fitted(widths: Sequence[int], contents: Sequence[int], room: int) -> list[int]:
    """Return the widths of a table's columns if it has only this much room: the widest are made narrower.

    `contents` are the widths without the heads. What is short (a number, a state) is not cut, but the head above it may be.
    """
    fitting = list(widths)
    least = [
        min(was, max(min(each, SHORTEST), SHORTEST_HEAD)) for was, each in zip(widths, contents, strict=True)
    ]
    excess = sum(fitting) + 2 * (len(fitting) - 1) - room
    while excess > 0 and (more := [number for number, each in enumerate(fitting) if each > least[number]]):
        fitting[max(more, key=fitting.__getitem__)] -= 1
        excess -= 1
    return fitting


def cut(text: str, width: int) -> str:
    """Cut a text to a width."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def printable(value: Any) -> str:
    """Escape the characters of a value that a terminal would act on."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_within(value: Any) -> Any:
    """Make every text in a result printable, so that a writer cannot forget one. Line ends stay: tracebacks have them."""
    match value:
        case str():
            return "\n".join(map(printable, value.split("\n")))
        case list():
            return [printable_within(each) for each in value]
        case dict():
            return {printable(key): printable_within(each) for key, each in value.items()}
    return value


def paragraph(text: str, *, indent: str = "") -> str:
    """Escape and indent a text of several lines."""
    return "\n".join(f"{indent}{printable(line)}" for line in text.splitlines())


def table(
    rows: Sequence[Sequence[Any]], *, head: Sequence[str] = (), indent: str = "", coloured: int | None = None
) -> str:
    """Align rows in columns, the states in column `coloured` in their colour; nothing for no rows.

    On a terminal, a table with a head is cut to its width.
    """
    cells = [[printable(cell) for cell in row] for row in ([head, *rows] if head and rows else rows)]
    if not cells:
        return ""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    if head and _terminal_width:
        contents = [max(len(row[column]) for row in cells[1:]) for column in range(len(head))]
        widths = fitted(widths, contents, _terminal_width - len(indent))
        cells = [[cut(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if coloured is not None:
            padded[coloured] = padded[coloured].replace(row[coloured], state(row[coloured], colour=True), 1)
        lines.append(indent + "  ".join(padded).rstrip())
    return "\n".join(lines)


def state(word: str, *, colour: bool) -> str:
    """Write a state, in its colour."""
    code = COLOURS.get(word, PLAIN)
    return f"\x1b[{code}m{printable(word)}\x1b[0m" if colour and code != PLAIN else printable(word)


def mebibytes(size: int | None) -> str:
    """Write a number of bytes in MiB; "-" if it is unknown."""
    return "-" if size is None else f"{size / MIB:.0f}"
