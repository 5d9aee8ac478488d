"""Ids of users and groups in settings."""

from typing import Final

from flaskd.errors import ConfigError

LARGEST: Final = 0xFFFFFFFE
"""The largest uid or gid; the next number, (uid_t)-1, tells setresuid(2) and chown(2) to change nothing."""


def id_of(text: str) -> int | None:
    """Return the uid or gid in `text`, None for a name. Raises ConfigError for a number that is too large."""
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) > LARGEST:
        raise ConfigError(f"{text} is not a uid or gid: the largest is {LARGEST}", hint="`id` shows yours")
    return int(text)
