"""uWSGI: an ini file, and options of its command line, which are the same."""

import fnmatch
import os
from collections.abc import Mapping, Sequence
from typing import Final

import click

from flaskd.errors import ConfigError
from flaskd.migrate.arguments import parse
from flaskd.migrate.option import Given, Option, Takes, Values, missing
from flaskd.migrate.uwsgi import ini
from flaskd.migrate.uwsgi.table import OPTIONS

NAME: Final = "uwsgi"
OTHER_FORMATS: Final = (".xml", ".yaml", ".yml", ".json")
UNKNOWN: Final = "flaskd does not know this option of uWSGI"
COMMAND_LINE: Final = (*OPTIONS, Option("ini", ("--ini",), takes=Takes.VALUES, here=missing("")))


def read(words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Values:
    """Return the options of the ini file and of the command line, which wins.

    Raises click.UsageError for a wrong command line, ConfigError for what is wrong in the file.
    """
    typed = parse(NAME, COMMAND_LINE, words)
    named = typed.given.pop("ini", None)
    files = [*(named.value if named else ()), *typed.words]
    if len(files) > 1:
        raise click.UsageError(f"name one ini file, not {', '.join(files)}")
    if not files and not typed.given:
        raise click.UsageError("name uWSGI's ini file: flaskd migrate uwsgi FILE.ini")
    options, given = list(OPTIONS), dict(typed.given)
    for path in files:
        if path.endswith(OTHER_FORMATS):
            raise ConfigError(
                f"{path} is not an ini file", hint="write its options as an ini file; the names are the same"
            )
        configuration = ini.read(path, environ=environ, directory=directory, cores=os.cpu_count() or 1)
        more, found = _options(configuration)
        options += more
        given = found | given
    return Values(options, given)


_BY_KEY: Final = {
    flag.removeprefix("--"): option for option in OPTIONS for flag in option.flags if flag.startswith("--")
}


def option_of(key: str) -> Option | None:
    """Return the row of an option, else that of its family with its own name; None if there is neither."""
    if key in _BY_KEY:
        return _BY_KEY[key]
    family = next((each for each in OPTIONS if fnmatch.fnmatchcase(key, each.name)), None)
    return family and family._replace(name=key, takes=Takes.VALUES)


def _options(configuration: ini.Configuration) -> tuple[list[Option], dict[str, Given]]:
    """Return the rows that the table does not have, and what is given."""
    more: dict[str, Option] = {}
    given: dict[str, Given] = {}
    for key, value, source in configuration.lines:
        option = option_of(key)
        if option is None and key in configuration.referred:
            continue  # a placeholder
        option = option or Option(key, takes=Takes.VALUES, here=missing(UNKNOWN))
        if option.name not in _NAMES:
            more[option.name] = option
        read = option.read(value, source)
        if option.takes is Takes.VALUES:
            read = [*(given[option.name].value if option.name in given else ()), read]
        given[option.name] = Given(read, source)
    return list(more.values()), given


_NAMES: Final = {option.name for option in OPTIONS}
