"""`flask run`: its options, and those of `flask` itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from flaskd.migrate.arguments import parse
from flaskd.migrate.option import (
    Given,
    Note,
    Option,
    Set,
    Step,
    Takes,
    Values,
    elsewhere,
    same,
    to,
    unneeded,
    with_another,
)

NAME: Final = "flask-run"
DEVELOP: Final = "`flaskd dev` reloads when you save, and watches more files with `--watch`"


def _bind(_: Any, values: Values) -> Iterator[Step]:
    host = values["host"]
    if host.startswith("unix://"):
        yield Set("bind", f"unix:{host.removeprefix('unix://')}")
    else:
        yield Set("bind", f"{f'[{host}]' if ':' in host else host}:{values['port']}")


def _threads(value: Any, _: Values) -> Iterator[Step]:
    if not value:
        yield Set("threads", 1)


def _certificate(value: Any, _: Values) -> Iterator[Step]:
    if value == "adhoc":
        yield Note("flaskd makes no certificates: name a file, from mkcert for example")
    else:
        yield Set("tls_cert", value)


def _application(value: Any, _: Values) -> Iterator[Step]:
    """Without a name, `flask run` looks for wsgi.py and app.py."""
    if value:
        yield Set("app", value)


OPTIONS: Final = (
    Option(
        "app",
        ("-A", "--app"),
        here=to("app", "found in the same way; FLASK_APP is read, too", convert=_application),
    ),
    Option("host", ("-h", "--host"), default="127.0.0.1", always=True, here=to("bind", convert=_bind)),
    Option(
        "port",
        ("-p", "--port"),
        default=5000,
        here=with_another("bind", "5000 without it, as for `flask run`"),
    ),
    Option(
        "with_threads",
        ("--without-threads",),
        default=True,
        takes=Takes.NOTHING,
        here=to("threads", "`threads = 1` for --without-threads", convert=_threads),
    ),
    Option("cert", ("--cert",), here=to("tls_cert", convert=_certificate)),
    Option("key", ("--key",), here=to("tls_key", convert=same("tls_key"))),
    Option(
        "debug",
        ("--debug",),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere(
            "`flaskd dev`; never in production, where `flaskd_ctl errors` shows tracebacks to you"
        ),
    ),
    Option(
        "debugger",
        ("--debugger",),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere("`flaskd dev`; never in production, because it executes code"),
    ),
    Option("reload", ("--reload",), default=False, takes=Takes.NOTHING, here=elsewhere(DEVELOP)),
    Option("extra_files", ("--extra-files",), here=elsewhere(DEVELOP)),
    Option("exclude_patterns", ("--exclude-patterns",), here=elsewhere(DEVELOP)),
    Option(
        "env_file",
        ("-e", "--env-file"),
        takes=Takes.VALUES,
        here=elsewhere("`EnvironmentFile=` in the unit; `flaskd dev` reads .env and .flaskenv"),
    ),
    Option(
        "no_switches",
        ("--no-debug", "--no-debugger", "--no-reload", "--with-threads"),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("always so"),
    ),
)


def read(words: Sequence[str], *, environ: Mapping[str, str], directory: str) -> Values:
    """Return the options of the command line (with or without `run`) and of the variables FLASK_APP and FLASK_RUN_*.

    Raises click.UsageError.
    """
    typed = parse("flask run", OPTIONS, [word for word in words if word != "run"])
    if typed.words:
        raise click.UsageError(f"name the application with --app: {typed.words[0]} is no option of flask run")
    given = {}
    for option in OPTIONS:
        variable = "FLASK_APP" if option.name == "app" else f"FLASK_RUN_{option.name.upper()}"
        if environ.get(variable):
            given[option.name] = Given(option.read(environ[variable], variable), variable)
    return Values(OPTIONS, given | typed.given)
