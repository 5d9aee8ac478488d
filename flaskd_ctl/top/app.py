"""The terminal program: it shows what `Watch` sees, and asks before it changes anything."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.events import DescendantFocus
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from flaskd_ctl.errors import ControlError
from flaskd_ctl.live import changes
from flaskd_ctl.live.seen import Row
from flaskd_ctl.live.watch import Asked, Watch
from flaskd_ctl.text.layout import printable
from flaskd_ctl.top import details, header
from flaskd_ctl.top.panels import INSTANCES, PANELS, instance_row
from flaskd_ctl.top.screens import Confirm, Detail, Help
from flaskd_ctl.top.table import PanelTable

SMALLEST: Final = (60, 15)
"""Columns and lines below which the panels are not shown."""

REDRAW: Final = 0.2
"""Seconds between two drawings that nobody asked for, at least."""

WIDE: Final = (140, 36)
"""Columns and lines from which all panels are shown at once."""


class Top(App[None]):
    """Watches `sources`, each every `interval` seconds."""

    CSS_PATH = "top.tcss"
    TITLE = "flaskd_ctl top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(panel.key, f"show('{panel.name}')", panel.title, show=False)
            for panel in [INSTANCES, *PANELS]
        ),
        *(
            Binding(
                kind.key,
                f"change({number})",
                kind.label,
                key_display={"plus": "+", "minus": "-"}.get(kind.key),
            )
            for number, kind in enumerate(changes.KINDS)
        ),
        Binding("s", "sort", "Sort"),
        Binding("S", "reverse", "Reverse", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "all_rows", "All rows", show=False),
        Binding("t", "theme", "Light or dark", show=False),
        Binding("question_mark,f1", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, sources: Sequence[Asked], *, interval: float) -> None:
        super().__init__()
        self.watches = [Watch(source, interval=interval, changed=self.look_soon) for source in sources]
        self.chosen = self.watches[0]
        self.several = len(self.watches) > 1
        self.tables = {panel.name: PanelTable(panel) for panel in PANELS}
        self.overview = PanelTable(INSTANCES)
        self.current = self.overview if self.several else self.tables["workers"]
        self.said = ""
        self._timer: Timer | None = None
        self._offered: list[tuple[str, str, bool, str]] = []

    def compose(self) -> ComposeResult:
        """Lay the widgets out."""
        yield Static(id="instance", markup=False)
        yield Static(id="numbers", markup=False)
        yield Static(id="rate", markup=False)
        yield Static(id="panel-names", markup=False)
        yield Static(id="too-small", markup=False)
        with Container(id="panels"):
            if self.several:
                yield self.overview
            yield from self.tables.values()
        yield Input(placeholder="show only rows that contain …", id="filter")
        yield Static(id="message", markup=False)
        yield Static(id="keys")

    def on_mount(self) -> None:
        """Begin to watch."""
        self.query_one("#filter").display = False
        for watch in self.watches:
            self.run_worker(watch.run(), group="watches")
        self._arrange()
        self.current.focus()
        self.look()

    def on_resize(self) -> None:
        """Use the room that there is, once it is known."""
        self.call_after_refresh(self._arrange)
        self.call_after_refresh(self.look)

    @property
    def wide(self) -> bool:
        """Whether there is room for all panels."""
        return self.size.width >= WIDE[0] and self.size.height >= WIDE[1]

    @property
    def too_small(self) -> bool:
        """Whether there is no room for a panel."""
        return self.size.width < SMALLEST[0] or self.size.height < SMALLEST[1]

    def look_soon(self) -> None:
        """Show what is known in a moment, together with what comes until then: a busy log has many lines a second."""
        if self._timer is None and self.is_running:
            self._timer = self.set_timer(REDRAW, self.look)

    def look(self) -> None:
        """Show what is known now."""
        self._timer = None
        if not self.is_running or not self.screen_stack:  # it begins or ends
            return
        seen, width = self.chosen.seen, self.size.width
        lines = {
            "#instance": header.instance_line(seen),
            "#numbers": header.numbers_line(seen),
            "#rate": header.rate_line(seen, width=width - 2),
            "#message": self.said,
        }
        for screen in self.screen_stack:
            for where, text in lines.items():
                for line in screen.query(where).results(Static):
                    line.update(Text(text, no_wrap=True, overflow="ellipsis"))
            screen.query("#instance").set_class(bool(seen.away), "-away")
        for table in self.tables.values() if self.wide else [self.current]:
            if table is self.overview:
                continue
            rows = table.panel.rows(seen)
            table.show(rows, why_empty=seen.refused.get(table.panel.method, ""))
        if self.several:
            self.overview.show([instance_row(watch.seen) for watch in self.watches])
        self._offer()

    def _offer(self) -> None:
        """Show in the last line what can be done now; grey is what is not allowed."""
        if not self.is_running or not self.screen_stack:
            return
        screen = self.screen
        lines = list(screen.query("#keys").results(Static))
        by_action = {
            binding.action: (self.get_key_display(binding), binding.description, enabled, binding.action)
            for _, binding, enabled, _ in reversed(
                screen.active_bindings.values()
            )  # the first key of several
            if binding.show
        }
        offered = list(reversed(by_action.values()))
        if lines and offered != self._offered:
            self._offered = offered
            lines[0].update(Content.assemble(*(_key(*each) for each in offered)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide a change that does not apply here; grey one that the caller's role does not allow."""
        if action == "show" and parameters == ("instances",):
            return self.several
        if action in {"sort", "reverse", "filter"}:
            return len(self.screen_stack) == 1
        if action != "change":
            return True
        return self._state_of(changes.KINDS[int(str(parameters[0]))])

    def _state_of(self, kind: changes.Kind) -> bool | None:
        if kind.panel is not None and kind.panel != self.current.panel.name:
            return False
        seen = self.chosen.seen
        if seen.away or kind.method not in seen.may:
            return None
        if kind.make(seen, self.current.row) is None:
            return False if kind.method in {"drain", "resume"} else None
        return True

    def action_show(self, name: str) -> None:
        """Go to a panel."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.current = self.overview if name == "instances" else self.tables[name]
        self._arrange()
        self.current.focus()
        self.look()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.current.sort_by_next()
        self.look()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.current.reverse = not self.current.reverse
        self.look()

    def action_filter(self) -> None:
        """Ask what to show."""
        field = self.screen_stack[0].query_one("#filter", Input)
        field.value = self.current.wanted
        field.display = True
        field.focus()

    def action_all_rows(self) -> None:
        """Leave the filter: all rows are shown again."""
        self._filtered("")

    def action_theme(self) -> None:
        """Use the light theme, or the dark one."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"

    def action_help(self) -> None:
        """Explain the keys."""
        self.push_screen(Help())
        self.call_after_refresh(self.look)

    def action_change(self, number: int) -> None:
        """Ask, and then carry out a change."""
        kind = changes.KINDS[number]
        change = kind.make(self.chosen.seen, self.current.row)
        if change is not None:
            self._carry_out(self.chosen, change)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits while it is typed."""
        self.current.wanted = event.value
        self.look()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter."""
        self._filtered(event.value)

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show what is behind a row."""
        table = event.data_table
        row = table.row if isinstance(table, PanelTable) else None
        if row is None or not isinstance(table, PanelTable):
            return
        if table is self.overview:
            self.action_show("workers")
        else:
            self._open(table, row)

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Show the instance that the cursor is on."""
        if event.data_table is self.overview and self.overview.row is not None:
            label = self.overview.row["label"]
            self.chosen = next(watch for watch in self.watches if watch.seen.label == label)
            self.look()
        else:
            self._offer()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Follow the focus: a panel is also chosen with Tab and with the mouse."""
        if isinstance(event.widget, PanelTable) and event.widget is not self.current:
            self.current = event.widget
            self._arrange()
            self._offer()

    def say(self, text: str) -> None:
        """Show a message until the next one."""
        self.said = printable(text)
        self.look()

    @work(group="changes")
    async def _carry_out(self, watch: Watch, change: changes.Change) -> None:
        if not await self.push_screen_wait(Confirm(change.question, change.explained)):
            self.say(f"{change.method}: not done")
            return
        self.say(f"{change.method} …")
        try:
            outcome = await changes.ask(watch.source, change, lambda event: self._progress(change, event))
        except ControlError as error:
            outcome = f"{change.method} failed: {error.with_hint}"
        self.say(outcome)
        watch.look_soon()

    def _progress(self, change: changes.Change, event: dict[str, Any]) -> None:
        self.say(f"{change.method}: worker {event.get('worker')} {event.get('state')}")

    @work(exclusive=True, group="details")
    async def _open(self, table: PanelTable, row: Row) -> None:
        try:
            text = await details.behind(self.chosen.source, table.panel, row)
        except ControlError as error:
            text = error.with_hint
        self.push_screen(Detail(details.title(table.panel, row), text))
        self.call_after_refresh(self.look)

    def _filtered(self, wanted: str) -> None:
        field = self.screen_stack[0].query_one("#filter", Input)
        self.current.wanted = wanted
        field.display = False
        self.current.focus()
        self.look()

    def _arrange(self) -> None:
        """Show the panels that there is room for."""
        base = self.screen_stack[0]
        base.set_class(self.wide, "-wide")
        base.set_class(self.too_small, "-small")
        for table in (self.overview, *self.tables.values()):
            table.set_class(table is self.current, "-current")
        names = [
            Content.from_markup(
                f"[{'reverse ' if panel is self.current.panel else ''}@click=app.show('{panel.name}')] {panel.key} "
                f"{panel.name.capitalize()} [/]"
            )
            for panel in ([INSTANCES] if self.several else []) + PANELS
        ]
        base.query_one("#panel-names", Static).update(Content.assemble(*names))
        smallest = f"{SMALLEST[0]} by {SMALLEST[1]}"
        base.query_one("#too-small", Static).update(
            f"This terminal has {self.size.width} by {self.size.height} characters; top needs {smallest}."
        )


def _key(key: str, label: str, enabled: bool, action: str) -> Content:
    """Make a key of the last line, which can be clicked too."""
    if not enabled:
        return Content.from_markup("[dim] $key $label [/]", key=key, label=label)
    return Content.from_markup(
        f"[@click=app.{action.removeprefix('app.')}] [bold $accent]$key[/] $label [/]", key=key, label=label
    )


def watch(sources: Sequence[Asked], *, interval: float) -> int:
    """Run until the user leaves; returns 0, or 1 after a failure of its own."""
    top = Top(sources, interval=interval)
    top.run()
    return top.return_code or 0
