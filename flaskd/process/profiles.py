"""What of a profile fits into a reply: the stacks that were seen most often, and the functions that they name."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from flaskd_ctl.protocol import ProfiledFunction, ProfiledStack

LONGEST_PROFILE: Final = 900_000
"""Bytes of JSON of one process's profile."""


class Fitted(NamedTuple):
    """The part of a profile that fits; `other` counts what was seen in stacks that do not."""

    functions: list[ProfiledFunction]
    stacks: list[ProfiledStack]
    other: int


def fit(functions: Sequence[ProfiledFunction], stacks: Iterable[ProfiledStack], limit: int) -> Fitted:
    """Return the most frequent stacks, and the functions that they name, that have `limit` bytes of JSON.

    Indexes that name no function are left out: a worker says whatever its application lets it say.
    """
    limit -= len("[][]")
    ordered = sorted(stacks, key=lambda stack: -stack.count)
    numbers: dict[int, int] = {}
    kept: list[ProfiledStack] = []
    for position, stack in enumerate(ordered):
        frames = [index for index in stack.frames if index < len(functions)]
        new = [index for index in dict.fromkeys(frames) if index not in numbers]
        numbers |= {index: len(numbers) + number for number, index in enumerate(new)}
        renumbered = ProfiledStack(stack.count, [numbers[index] for index in frames])
        limit -= len(msgspec.json.encode(renumbered)) + 1
        limit -= sum(len(msgspec.json.encode(functions[index])) + 1 for index in new)
        if limit < 0:
            for index in new:
                del numbers[index]
            return Fitted(_named(functions, numbers), kept, sum(each.count for each in ordered[position:]))
        kept.append(renumbered)
    return Fitted(_named(functions, numbers), kept, 0)


def _named(functions: Sequence[ProfiledFunction], numbers: Iterable[int]) -> list[ProfiledFunction]:
    return [functions[index] for index in numbers]
