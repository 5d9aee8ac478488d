"""A panel on the screen: a table that keeps its cursor on the same row while the rows change.

In the first line it stays in the first line: that is where the newest event is, or the slowest endpoint.
"""

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text
from textual.widgets import DataTable

from flaskd_ctl.live.seen import Row
from flaskd_ctl.top.panels import Column, Panel, arranged, cells, fitted

SCROLLBAR: Final = 2
"""Columns that the bar at the side takes when there are more rows than lines."""


class PanelTable(DataTable[Text]):
    """The table of a panel. `sorted_by`, `reverse` and `wanted` say which rows it shows, in which order."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(id=panel.name, cursor_type="row", zebra_stripes=True)
        self.panel = panel
        self.sorted_by = panel.sort
        self.reverse = False
        self.wanted = ""
        self._shown: list[Row] = []
        self._drawn: Any = None
        self._given: tuple[Sequence[Row], str] = ((), "")
        self.border_title = f"{panel.key} {panel.title}"

    @property
    def row(self) -> Row | None:
        """The row that the cursor is on."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    def sort_by_next(self) -> None:
        """Sort by the column after the present one, then by the first again."""
        fields = [column.field for column in self.panel.columns]
        self.sorted_by = (
            fields[(fields.index(self.sorted_by) + 1) % len(fields)]
            if self.sorted_by in fields
            else fields[0]
        )
        self.reverse = False

    def show(self, rows: Sequence[Row], *, why_empty: str = "") -> None:
        """Show these rows; with none, say so or `why_empty`."""
        panel = self.panel
        self._given = rows, why_empty
        kept = arranged(panel, rows, sort=self.sorted_by, reverse=self.reverse, wanted=self.wanted)
        lines = [cells(panel, row) for row in kept]
        note = why_empty or (f"no row contains {self.wanted}" if self.wanted and rows else panel.empty)
        drawn = (lines, self.size.width, self.sorted_by, self.reverse, self.wanted, "" if lines else note)
        if drawn == self._drawn:
            self._shown = kept
            return
        ident = self._ident(self.row)
        first = self.cursor_row <= 0
        self._drawn, self._shown = drawn, kept
        filtered = f", only with “{self.wanted}”" if self.wanted else ""
        self.border_title = Text(f"{panel.key} {panel.title}{filtered}")
        self.border_subtitle = "" if lines else Text(note)
        self._draw(lines)
        places = [self._ident(row) for row in kept]
        if ident in places and not first:
            self.move_cursor(row=places.index(ident), animate=False, scroll=False)

    def on_resize(self) -> None:
        """Use the room that there is now; a panel that was hidden had none."""
        rows, why_empty = self._given
        self.show(rows, why_empty=why_empty)

    def _draw(self, lines: list[list[str]]) -> None:
        columns = fitted(self.panel, lines, sort=self.sorted_by, width=self.size.width - SCROLLBAR)
        self.clear(columns=True)
        for number, width in columns:
            column, mark = self.panel.columns[number], ""
            if column.field == self.sorted_by:
                mark = "▼" if column.numeric is not self.reverse else "▲"
            self.add_column(_text(f"{column.head}{mark}", column), width=width)
        for line in lines:
            self.add_row(*(_text(line[number], self.panel.columns[number]) for number, _ in columns))

    def _ident(self, row: Row | None) -> tuple[Any, ...]:
        return () if row is None else tuple(row.get(field) for field in self.panel.ident)


def _text(text: str, column: Column) -> Text:
    return Text(text, justify="right" if column.numeric else "left", no_wrap=True, overflow="ellipsis")
