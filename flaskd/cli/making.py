"""The commands that make files: `migrate`, `keygen` and `systemd unit`."""

import os
from typing import Any

import click

from flaskd.cli.group import main, write
from flaskd.console.say import say
from flaskd.settings.options import AppCommand, Given, absolute


@main.command(
    name="migrate",
    short_help="Print a flaskd.toml for the configuration of gunicorn, uWSGI, waitress or flask run.",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.argument("server", metavar="SERVER")
@click.argument("words", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def migrate_from(server: str, words: tuple[str, ...]) -> None:
    """Print a flaskd.toml for the configuration of another server, and on stderr what is different or has no equivalent.

    SERVER is gunicorn, uwsgi, waitress or flask-run; ARGUMENTS are those of that server, whose own files and variables are
    read, too. gunicorn.conf.py is code: it is executed, in a process of its own, by you. See docs/coming-from/.

    Exit codes: 0 if the file was printed, 1 if the configuration cannot be read or the application cannot be served, 2 for
    arguments that the server would refuse.

    Example: flaskd migrate gunicorn shop:app -c gunicorn.conf.py >flaskd.toml
    """
    from flaskd.migrate import SERVERS, migrate

    if server not in SERVERS:
        raise click.UsageError(f"there is no server {server!r}: name one of {', '.join(SERVERS)}")
    migrated = migrate(server, words, environ=os.environ, directory=absolute(""))
    write(migrated.toml)
    for line in migrated.lines:
        say(f"flaskd: {line}")


@main.command(short_help="Make a pair of CURVE keys, for tcp:// endpoints.")
@click.argument("name")
@click.option(
    "--directory", default=".", metavar="DIR", help="Write the keys there. Default: the current directory."
)
@click.option("--force", is_flag=True, help="Replace an existing pair; the old keys stop working.")
def keygen(name: str, directory: str, force: bool) -> None:
    """Make a pair of CURVE keys: the public NAME.key, and NAME.key_secret, which only its owner may read.

    An instance needs a pair (--curve-key), and so does each client (flaskd_ctl --key). Exchange the public keys: put a client's
    into the directory of --authorized-keys, where NAME is the client's name.

    Example: flaskd keygen shop --directory /etc/flaskd
    """
    from flaskd.control.tcp.keygen import make_pair

    made = make_pair(name, directory, force=force)
    write(f"{made.public}: give this one to the other side\n{made.secret}: keep this one secret")


@main.group(name="systemd")
def under_systemd() -> None:
    """Generate a systemd unit: see docs/systemd.md."""


@under_systemd.command(cls=AppCommand, short_help="Print a hardened unit that serves APP.")
@click.option(
    "--socket", is_flag=True, help="Let systemd open the listeners, so that a restart refuses no connection."
)
@click.option(
    "--template", is_flag=True, help="Make flaskd@.service for several applications; %i is the name of each."
)
@click.option(
    "--user", metavar="NAME", default="", help="Run as this user. Default: a dynamic user (DynamicUser=)."
)
@click.option(
    "--directory", metavar="DIR", default="", help="The application's directory. Default: the current one."
)
@click.option(
    "--watchdog",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=0.0,
    help="Set WatchdogSec=: restart an instance that hangs for this long. Default: 0 (off).",
)
@click.option("--notify-reload", is_flag=True, help="Use Type=notify-reload, which needs systemd 253.")
@click.option("--program", metavar="PATH", default="", help="The flaskd to run. Default: this one.")
@click.option("--output", metavar="DIR", default="", help="Write the files there. Default: print them.")
def unit(given: Given, output: str, **wanted: Any) -> None:
    """Print a complete, hardened unit that serves APP, with the options of `flaskd run` that are given here.

    Example: flaskd systemd unit shop:app --socket --bind 127.0.0.1:8000 --output /etc/systemd/system
    """
    from flaskd.systemd import make_unit

    files = make_unit.make(given, **wanted)
    if output:
        write("\n".join(f"wrote {path}" for path in make_unit.write(files, output)))
    else:
        texts = (f"# {make_unit.PLACE}/{name}\n{text}" for name, text in files.items())
        write("\n".join(texts).removesuffix("\n"))
