"""Guesses by spelling."""

import pytest

from flaskd_ctl.contract.guess import closest, did_you_mean


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("shpo", "shop"),
        ("shop2", "shop"),
        ("Shop", "shop"),
        ("blog", ""),
        ("restart_workers", "restart-worker"),
    ],
)
def test_a_word_is_guessed_if_it_is_close(word: str, meant: str) -> None:
    """Not at any price: a wrong guess is worse than none."""
    assert closest(word, ["shop", "restart-worker", "warehouse"]) == meant


def test_no_guess_is_no_sentence() -> None:
    """A caller has its own next step then."""
    assert did_you_mean("blog", ["shop"]) == ""
    assert did_you_mean("sohp", ["shop"]) == "did you mean shop?"
