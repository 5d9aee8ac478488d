"""What the setting `workers` asks for: a number, a range, or auto. Pure."""

from typing import Final, NamedTuple

AUTO: Final = "auto"

MOST_WORKERS: Final = 999

PATTERN: Final = "^(auto|[1-9][0-9]{0,2}([.][.](auto|[1-9][0-9]{0,2}))?)$"


class Bounds(NamedTuple):
    """The least and the largest number of workers."""

    minimum: int
    maximum: int

    def clamp(self, workers: int) -> int:
        """Return the number within the bounds that is nearest to `workers`."""
        return max(self.minimum, min(self.maximum, workers))


def is_range(text: str) -> bool:
    """Tell whether the number of workers follows the load."""
    return ".." in text


def uses_auto(text: str) -> bool:
    """Tell whether the number depends on what this machine, or this container, has."""
    return text.endswith(AUTO)


def bounds(text: str, auto: int) -> Bounds:
    """Return the bounds that `text` sets; `auto` is what that word stands for. The smaller end of a range counts."""
    first, _, last = text.partition("..")
    minimum, maximum = (auto if word == AUTO else int(word) for word in (first, last or first))
    return Bounds(minimum, max(minimum, maximum) if last == AUTO else maximum)
