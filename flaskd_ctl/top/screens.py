"""The screens above the panels: a question, a longer text, and the help."""

from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer, Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from flaskd_ctl.text.layout import paragraph, printable

HELP: Final = """\
1 to 6, Tab  go to a panel; 0: to the list of instances
Enter        look behind a row: the stacks of a worker or of a request, the
             numbers of an endpoint, the traceback of an error
s, S         sort by the next column; sort the other way round
/            show only the rows that contain a text; Esc: all rows again

d, u         drain: take the instance out of rotation; resume
r            reload: replace all workers
+, -         one worker more, one fewer
w, c         restart the worker, cancel the request under the cursor
t            light or dark
q            leave; the instance is not affected

A change asks first. Your role does not allow what is grey.

REQ/MIN, ERR/MIN, P50, P95 and P99 are those of the last minute.
BUSY: requests in the application. WAIT: requests that wait for a thread.
RSS, PSS: memory in MiB; PSS divides what processes share among them."""


class Confirm(ModalScreen[bool]):
    """Asks a question; its result is whether the answer was yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No", key_display="n"),
    ]

    def __init__(self, question: str, explained: str) -> None:
        super().__init__()
        self._question = question
        self._explained = explained

    def compose(self) -> ComposeResult:
        """Lay the widgets out."""
        with Vertical(id="question"):
            yield Static(Text(printable(self._question), style="bold"))
            if self._explained:
                yield Static(Text(self._explained))
            yield Static(Text("y  yes    n  no"), id="answers")

    def action_answer(self, answer: bool) -> None:
        """Close with an answer."""
        self.dismiss(answer)


class Detail(Screen[None]):
    """Shows a text, as long as it may be."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "app.pop_screen", "Back", key_display="esc")
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay the widgets out."""
        yield Static(id="instance")
        with ScrollableContainer(id="detail") as scroll:
            scroll.border_title = Text(printable(self._title))
            yield Static(Text(paragraph(self._text), no_wrap=True))
        yield Static(id="message")
        yield Static(id="keys")


class Help(Detail):
    """Explains the keys and the numbers."""

    def __init__(self) -> None:
        super().__init__("Keys", HELP)
