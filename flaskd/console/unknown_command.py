"""What somebody probably means by a command that `flaskd` does not have."""

from collections.abc import Iterable, Mapping
from typing import Final

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.contract.guess import did_you_mean

OPERATE: Final[Mapping[str, str]] = {
    "stop": "shutdown",
    "quit": "shutdown",
    "restart": "restart",
    "ps": "list",
    "list": "list",
    "ls": "list",
    "wait": "wait",
    "forget": "forget",
    "log": "logs",
}
"""Commands of flaskd_ctl that its table does not have, and what other programs call them."""

RUN: Final = ("serve", "server", "runserver", "up")
"""Other words for `run`."""

DEVELOP: Final = ("debug", "develop", "watch")
"""Other words for `dev`."""

DETACHED: Final = ("daemon", "detach", "background")
"""Other words for `start`."""


def what_to_do(word: str, known: Iterable[str]) -> str:
    """Return the next step for the unknown command `word`; "" if nothing is close."""
    name = word.lower()
    if ":" in word or name.endswith(".py"):
        return f"to serve this application: flaskd run {word}"
    if name in RUN:
        return "use `flaskd run`"
    if name in DEVELOP:
        return "use `flaskd dev`"
    if name in DETACHED:
        return "use `flaskd start`"
    if other := OPERATE.get(name) or (name if name.replace("-", "_") in COMMANDS else ""):
        return f"use `flaskd_ctl {other}`"
    return did_you_mean(word, known)
