"""The setting `workers`: a number, a range, or auto."""

from typing import Any

import pytest

from flaskd.errors import ConfigError
from flaskd.settings.checks import check, check_together
from flaskd.settings.schema import Settings
from flaskd.settings.workers import Bounds, bounds, is_range, uses_auto


@pytest.mark.parametrize(
    ("text", "found", "follows", "auto"),
    [
        ("1", Bounds(1, 1), False, False),
        ("999", Bounds(999, 999), False, False),
        ("auto", Bounds(4, 4), False, True),
        ("2..8", Bounds(2, 8), True, False),
        ("3..3", Bounds(3, 3), True, False),
        ("1..auto", Bounds(1, 4), True, True),
        ("6..auto", Bounds(6, 6), True, True),
    ],
)
def test_each_form_has_bounds(text: str, found: Bounds, follows: bool, auto: bool) -> None:
    """On a machine for which auto is 4; a minimum above that is what the operator wants."""
    assert check("workers", text, "here") == text
    check_together(Settings(app="shop:app", workers=text))
    assert (bounds(text, 4), is_range(text), uses_auto(text)) == (found, follows, auto)


@pytest.mark.parametrize(
    "value", ["0", "", "1000", "2...8", "2..", "..8", "2..0", "auto..8", "auto..auto", "1-4", "2..8 "]
)
def test_anything_else_is_refused(value: Any) -> None:
    """With what it may be."""
    with pytest.raises(
        ConfigError, match=r"expected a number from 1 to 999, a range such as 2\.\.8, or auto"
    ):
        check("workers", value, "--workers")


def test_a_number_may_be_one_in_toml() -> None:
    """`workers = 4`."""
    assert check("workers", 4, "flaskd.toml") == "4"


def test_a_range_that_runs_backwards_is_refused() -> None:
    """With the range that was meant."""
    with pytest.raises(ConfigError, match="the minimum is larger than the maximum") as raised:
        check_together(Settings(app="shop:app", workers="8..2"))
    assert raised.value.hint == "use --workers 2..8"


def test_a_range_needs_the_ledger() -> None:
    """Without it nobody knows the load; a fixed number does not need it."""
    with pytest.raises(ConfigError, match=r"--workers 2\.\.8 needs the ledger"):
        check_together(Settings(app="shop:app", workers="2..8", ledger=False))
    check_together(Settings(app="shop:app", workers="auto", ledger=False))
