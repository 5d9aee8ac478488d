"""The load of each worker, in memory that all workers of an instance map: each writes its own row, and reads the others'.

    words 0, 1   the mark of the format
    word 2       how many rows are in use, written by the supervisor
    word 8 …     rows of eight words. The first is the row of `engines.shared.even_load`: a reader never sees half of it. The
                 others say where another worker finds out more, in the words of the engine

Whatever a worker writes there, connections are accepted by the others soon: see `even_load.Turn`.
"""

from collections.abc import Sequence
from typing import Final

from flaskd.process.shared_memory import Format, SharedMemory, SharedTable

_USED, _FIRST = 2, 8
_WORDS: Final = 8
_SIZE: Final = 16_384
_FORMAT: Final = Format("load table", b"flaskd loads 1", mark_at=0, unit=_SIZE)

ROWS: Final = (_SIZE // 8 - _FIRST) // _WORDS
"""Workers at a time that have a row; further ones accept as if they were alone."""


class LoadTable(SharedTable):
    """The rows of all workers. The supervisor creates it, and gives out and takes back rows; a worker attaches to it."""

    form = _FORMAT
    entry = _SIZE

    def __init__(self, memory: SharedMemory) -> None:
        super().__init__(memory)
        self._words = memory.words
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return the number of a free row; -1 if there is none."""
        number = next((number for number in range(ROWS) if number not in self._taken), -1)
        if number >= 0:
            self._taken.add(number)
            self.write(number, 0)
            self._words[_USED] = max(self._taken) + 1
        return number

    def give_back(self, number: int) -> None:
        """Free a row, whose worker has ended."""
        if number in self._taken:
            self._taken.remove(number)
            self.write(number, 0)
            self._words[_USED] = max(self._taken, default=-1) + 1

    def write(self, number: int, word: int) -> None:
        """Write a row."""
        if number >= 0:
            self._words[_FIRST + number * _WORDS] = word

    def others(self, number: int) -> dict[int, int]:
        """Return the rows of the workers that accept, by number, but for `number`."""
        if number < 0:
            return {}
        used = min(self._words[_USED], ROWS)
        words = self._words[_FIRST : _FIRST + used * _WORDS : _WORDS].tolist()
        return {other: word for other, word in enumerate(words) if word and other != number}

    def hint(self, number: int) -> list[int]:
        """Return where to find out more about a worker, as it has written with `write_hint`; zeros if it has not."""
        first = _FIRST + number * _WORDS
        return self._words[first + 1 : first + _WORDS].tolist()

    def write_hint(self, number: int, words: Sequence[int]) -> None:
        """Write where to find out more about a worker; raises ValueError for too many words."""
        if number >= 0:
            if len(words) > _WORDS - 1:
                raise ValueError(f"{len(words)} words are too many for a hint")
            first = _FIRST + number * _WORDS
            for offset, word in enumerate(words, 1):
                self._words[first + offset] = word
