"""gunicorn: its command line, GUNICORN_CMD_ARGS, its configuration file, and the variables that it reads."""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

import click

from flaskd.errors import ConfigError
from flaskd.migrate.arguments import parse
from flaskd.migrate.gunicorn import config_file
from flaskd.migrate.gunicorn.table import OPTIONS
from flaskd.migrate.option import Given, Values

NAME: Final = "gunicorn"
ARGUMENTS: Final = "GUNICORN_CMD_ARGS"


def read(words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Values:
    """Return the settings, found where gunicorn finds them: the command line wins, then GUNICORN_CMD_ARGS, then the file.

    Raises click.UsageError for a wrong command line, ConfigError for what is wrong elsewhere.
    """
    typed = parse(NAME, OPTIONS, words)
    try:
        exported = parse(NAME, OPTIONS, shlex.split(environ.get(ARGUMENTS, "")), source=ARGUMENTS)
    except (click.UsageError, ValueError) as error:
        raise ConfigError(f"{ARGUMENTS}: {error}", hint="correct the variable, or unset it") from None
    given = _variables(environ)
    named = typed.given.get("config") or exported.given.get("config")
    if named or os.path.isfile(os.path.join(directory, config_file.DEFAULT)):
        found = config_file.read(named.value if named else config_file.DEFAULT, directory)
        given |= {
            name: each._replace(value=_OPTION[name].read(each.value, each.source))
            for name, each in found.items()
        }
    given |= exported.given | typed.given
    given.pop("config", None)
    if len(typed.words) > 1:
        raise click.UsageError(f"name one application, not {', '.join(typed.words)}")
    if typed.words:
        given["wsgi_app"] = Given(typed.words[0], "the command line")
    return Values(OPTIONS, given)


_OPTION: Final = {option.name: option for option in OPTIONS}


def _variables(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what gunicorn takes for its defaults from the environment."""
    found = {}
    if port := environ.get("PORT"):
        found["bind"] = Given([f"0.0.0.0:{port}"], "PORT", computed=True)
    if workers := environ.get("WEB_CONCURRENCY"):
        found["workers"] = Given(
            _OPTION["workers"].read(workers, "WEB_CONCURRENCY"), "WEB_CONCURRENCY", computed=True
        )
    if addresses := environ.get("FORWARDED_ALLOW_IPS"):
        found["forwarded_allow_ips"] = Given(addresses, "FORWARDED_ALLOW_IPS")
    return found
