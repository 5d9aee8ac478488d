"""Users and groups by number, as settings have them."""

from typing import Final

from flaskd.errors import ConfigError

LARGEST: Final = 0xFFFFFFFE
"""Of uid and gid; the next one is the (uid_t)-1 with which setresuid(2) and chown(2) change nothing."""


def id_of(text: str) -> int | None:
    """Return the uid or gid that `text` is; None for a name. Raises ConfigError for a number that no uid or gid can be."""
    if not (text.isascii() and text.isdigit()):
        return None
    if int(text) > LARGEST:
        raise ConfigError(f"{text} is no uid or gid: the largest is {LARGEST}", hint="`id` shows yours")
    return int(text)
