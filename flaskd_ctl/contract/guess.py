"""Guess what a misspelt word means. Pure; `difflib` is imported only when something is misspelt."""

from __future__ import annotations

from collections.abc import Iterable

CLOSE = 0.75
"""How alike two words must be (difflib's ratio); its own 0.6 takes `--port` for `--post-load`."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` is probably meant to be; "" if none is close."""
    import difflib

    found = difflib.get_close_matches(
        _plain(word), list(by_plain := {_plain(each): each for each in known}), 1, CLOSE
    )
    return by_plain[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?", or "" if no known word is close."""
    found = closest(word, known)
    return f"did you mean {found}?" if found else ""


def _plain(word: str) -> str:
    return word.lower().replace("_", "-")
