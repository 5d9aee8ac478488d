"""What of a profile fits into a reply."""

import msgspec

from flaskd.process.profiles import fit
from flaskd_ctl.protocol import ProfiledFunction, ProfiledStack

FUNCTIONS = [ProfiledFunction(f"f{n}", "/srv/shop/shop.py", n) for n in range(100)]


def names(functions: list[ProfiledFunction], stack: ProfiledStack) -> list[str]:
    return [functions[number].function for number in stack.frames]


def test_the_rarest_stacks_are_left_out_and_counted() -> None:
    """With functions that only they name."""
    stacks = [ProfiledStack(n, [0, 1, n]) for n in range(2, 100)]
    whole = sum(range(2, 100))
    for limit in range(0, 12_000, 400):
        functions, kept, other = fit(FUNCTIONS, stacks, limit)

        assert len(msgspec.json.encode(functions)) + len(msgspec.json.encode(kept)) <= max(limit, 4)
        assert sum(stack.count for stack in kept) + other == whole
        assert [stack.count for stack in kept] == list(range(99, 99 - len(kept), -1))
        assert [names(functions, stack) for stack in kept] == [
            ["f0", "f1", f"f{stack.count}"] for stack in kept
        ]
        assert len(functions) == (len(kept) + 2 if kept else 0)
    assert other == 0


def test_what_names_no_function_is_left_out() -> None:
    """A worker says whatever its application lets it say."""
    functions, (stack,), other = fit(FUNCTIONS[:2], [ProfiledStack(3, [1, 2**31, 0, 7])], 10_000)

    assert (names(functions, stack), stack.count, other) == (["f1", "f0"], 3, 0)
