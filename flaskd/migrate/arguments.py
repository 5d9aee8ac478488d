"""Read the command line of another server by the table of its options, with argparse, as most of them do."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import click

from flaskd.errors import ConfigError
from flaskd.migrate.option import Given, Option, Takes

ACTIONS: Final[dict[Takes, dict[str, Any]]] = {
    Takes.VALUE: {},
    Takes.VALUES: {"action": "append"},
    Takes.NOTHING: {"action": "store_const"},
    Takes.PERHAPS: {"nargs": "?"},
}


class Arguments(NamedTuple):
    """The options that a command line gives, and its other words."""

    given: dict[str, Given]
    words: list[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise click.UsageError(message)


def parse(server: str, options: Iterable[Option], words: Sequence[str], *, source: str = "") -> Arguments:
    """Parse `words`. Raises click.UsageError for an unknown option, a missing value, or one of the wrong type.

    `source` says where the words come from; "": the command line, whose options are named themselves.
    """
    options = [option for option in options if option.flags]
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for option in options:
        rest = dict(ACTIONS[option.takes])
        if option.takes is Takes.NOTHING:
            rest["const"] = not option.default
        elif option.takes is Takes.PERHAPS:
            rest["const"] = ""
        parser.add_argument(*option.flags, dest=option.name, **rest)
    parser.add_argument("words", nargs="*")
    found, unknown = parser.parse_known_args(list(words))
    if unknown:
        _refuse(server, unknown[0], [flag for option in options for flag in option.flags])
    values = vars(found)
    rest_of_words = values.pop("words", [])
    by_name = {option.name: option for option in options}
    given = {}
    for name, value in values.items():
        where = source or by_name[name].flags[-1]
        try:
            given[name] = Given(by_name[name].read(value, where), where)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
    return Arguments(given, rest_of_words)


def _refuse(server: str, word: str, flags: Sequence[str]) -> NoReturn:
    if not word.startswith("-"):
        raise click.UsageError(f"more than one application: {word}")
    flag = word.partition("=")[0]
    near = difflib.get_close_matches(flag, flags, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise click.UsageError(f"{server} has no option {flag}.{guess}")
