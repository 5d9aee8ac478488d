"""One worker's share of the load: what `even_load` decides, with the rows of `flaskd.process.load_table`."""

from collections.abc import Callable, Sequence
from time import monotonic

from flaskd.engines.shared.even_load import Decision, Shedding, Turn, connections_of, row
from flaskd.process.load_table import LoadTable


class LoadShare:
    """One worker's share of the load; its row is `number` in `table`. Without one, it is alone.

    `on_surplus` is called when clients begin to be sent away, who are to come to another worker. `may_accept`, `none_waits`
    and `accepted` are for the thread that accepts, the rest is for any thread.
    """

    def __init__(self, table: LoadTable | None = None, number: int = -1) -> None:
        self._table = table or LoadTable.private()
        self._number = number
        self.on_surplus: Callable[[], None] = lambda: None
        self._total = 0
        self._accepts = False
        self._connections = self._busy = 0
        self._turn = Turn()
        self._shedding = Shedding()

    @property
    def ask_again(self) -> float | None:
        """When to ask `may_accept` again although nothing came; monotonic seconds."""
        return self._turn.ask_again

    def may_accept(self, queued: Callable[[], int]) -> Decision:
        """Decide about connections that may wait; `queued` tells how many do."""
        load = self._connections + self._busy
        return self._turn.decide(load, self._table.others(self._number), queued, monotonic())

    def none_waits(self) -> None:
        """Note that no connection waits."""
        self._turn.none_waits()

    def accepts(self, accepts: bool) -> None:
        """Take part, or no longer: others do not leave connections to a worker that accepts none."""
        self._accepts = accepts
        self._write()

    def accepted(self) -> None:
        """Tell the others of one more connection."""
        self._total += 1
        self.loaded(self._connections + 1, self._busy)

    def loaded(self, connections: int, busy: int) -> None:
        """Tell the others how many connections are open, and how many of them have a request."""
        self._connections, self._busy = connections, busy
        if self._accepts:
            self._table.write(self._number, row(self._total, connections, busy))

    def lets_go(
        self,
        count: Callable[[], tuple[int, int]],
        count_of: Callable[[Sequence[int]], int | None] | None = None,
        *,
        needed: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Tell whether the connection of the response that begins now is to end with it.

        `count` is called now and then, and returns what `loaded` wants. `count_of` returns the connections of another worker by
        what that has written with `hint`, None if it cannot be known; without it, what the others say of themselves counts.
        `needed` tells whether this connection has to stay: then another one is let go.
        """
        if self._number < 0:
            return False
        now, shedding = monotonic(), self._shedding
        if now >= shedding.look_at:
            self.loaded(*count())
            others = {
                number: connections_of(word) for number, word in self._table.others(self._number).items()
            }
            if count_of is not None:
                for number in others:
                    if (counted := count_of(self._table.hint(number))) is not None:
                        others[number] = counted
            if shedding.look(self._connections, list(others.values()), now):
                self.on_surplus()
        if not shedding.left or needed() or not shedding.take():
            return False
        self.loaded(self._connections - 1, self._busy)
        return True

    def hint(self, words: Sequence[int]) -> None:
        """Tell other workers where they find out more; raises ValueError for too many words."""
        self._table.write_hint(self._number, words)

    def _write(self) -> None:
        word = row(self._total, self._connections, self._busy) if self._accepts else 0
        self._table.write(self._number, word)
