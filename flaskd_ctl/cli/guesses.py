"""What somebody probably means by a command or an option that `flaskd_ctl` does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import click

from flaskd_ctl.contract.guess import did_you_mean

COMMANDS: Final[Mapping[str, str]] = {
    "stop": "shutdown",
    "quit": "shutdown",
    "exit": "shutdown",
    "term": "shutdown",
    "terminate": "shutdown",
    "undrain": "resume",
    "ls": "list",
    "ps": "list",
    "instances": "list",
    "log": "logs",
    "tail": "logs --follow",
    "watch": "events",
    "health": "status --serving",
    "ready": "wait --for ready",
    "metric": "metrics",
    "trace": "stacks",
    "threads": "stacks",
    "settings": "config",
    "remove": "forget",
    "rm": "forget",
    "delete": "forget",
}
"""By what other programs call them."""

OF_FLASKD: Final = ("start", "run", "dev", "check", "migrate", "doctor", "keygen", "systemd")
"""Commands of the other program."""

OPTIONS: Final[Mapping[str, str]] = {
    "-n": "use --name NAME; for a number of lines, --limit NUMBER",
    "--instance": "use --name NAME",
    "--app": "use --name NAME, the name of the instance",
    "--socket": "use --endpoint unix:///path/to/sock",
    "--host": "use --endpoint ssh://HOST/NAME",
    "--wait": "leave it out: each command waits, unless you give --no-wait",
    "--force": "to cut requests: `flaskd_ctl shutdown --grace 0`; to end the process at once: `flaskd_ctl kill`",
    "-f": "use --follow",
    "--tail": "use --limit NUMBER",
    "-v": "use --json, which shows every field",
    "--verbose": "use --json, which shows every field",
}
"""By what other programs call them."""


def command_hint(word: str, known: Iterable[str]) -> str:
    """Return the next step for the unknown command `word`; "" if nothing is close."""
    name = word.lower()
    if name in COMMANDS:
        return f"use `flaskd_ctl {COMMANDS[name]}`"
    if name in OF_FLASKD:
        return f"use `flaskd {name}`"
    return did_you_mean(word, known)


def with_hint(error: click.NoSuchOption, ctx: click.Context) -> click.UsageError:
    """Return the error for an unknown option, with what to use instead if that is known."""
    hint = OPTIONS.get(error.option_name)
    return click.UsageError(f"No such option: {error.option_name}. Next: {hint}", ctx) if hint else error
