"""The command line of the daemon: `flaskd run`, `check`, `config`, `doctor`, `keygen` and `systemd unit`."""

import contextlib
import json
import os
import sys
import traceback
from typing import Any, NoReturn

import click

from flaskd.console import banner, priority
from flaskd.console.say import say
from flaskd.control.access.grants import rules_of
from flaskd.control.access.policy import Caller, role_of
from flaskd.control.server import check_tcp
from flaskd.engines.choice import choose
from flaskd.errors import FlaskdError, LoadError
from flaskd.process import ending, signals, threads
from flaskd.process.directory import logical_directory
from flaskd.settings.identity import identity_of
from flaskd.settings.options import AppCommand, Given, SettingsCommand
from flaskd.settings.schema import Settings, shown
from flaskd.settings.sources import ReadSettings, read_settings, settings_from, unknown_variables
from flaskd.systemd import activation
from flaskd.systemd.notify import ServiceManager
from flaskd.version import __version__
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.errors import BadPlace
from flaskd_ctl.protocol import Actor


class ErrorsAsSentences(click.Group):
    """A group whose commands end with exit code 1 and a sentence where something is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (FlaskdError, BadPlace) as error:
            _fail(error)
        except RuntimeError as error:
            if (explained := threads.explained(error)) is None:
                raise
            _fail(explained)


@click.group(
    cls=ErrorsAsSentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="flaskd")
def main() -> None:
    """Run a Flask application as a daemon that flaskd_ctl can operate.

    Exit codes: 1 for an invalid setting or an application that cannot be loaded, 2 for a wrong command line.
    """


@main.command(cls=AppCommand)
def run(given: Given) -> None:
    """Serve APP until it is stopped.

    APP is module:attribute, module:factory(), a module that holds app or create_app, or a path (shop.py:app). SIGTERM, SIGINT
    and `flaskd_ctl shutdown` stop it without losing a request. Each option may also be set in the environment, by the name in
    brackets, or in flaskd.toml.

    Exit codes: 0 if it was stopped and every request was answered, 6 if requests were cut, 137 after `flaskd_ctl kill`.

    Example: flaskd run shop:app --bind 127.0.0.1:8000 --name shop
    """
    from flaskd.process import reaper

    reaper.exit_on_sigterm()
    from flaskd.logs import handler
    from flaskd.logs.sinks import Style
    from flaskd.supervisor.main import run as run_supervisor
    from flaskd.supervisor.output import WorkerOutput

    source = _Source(given)
    ending.fill_standard_descriptors()
    signals.block()  # before the first thread is started
    threads.check_threads()
    manager = ServiceManager.from_environment(os.environ, os.getpid())
    journal = priority.journal_reads(ending.STDERR, os.environ)
    if journal:
        priority.mark_lines()
    read = source.read()
    settings = read.settings
    files = {"log_file": settings.log_file, "access_log_file": settings.access_log_file}
    with (
        WorkerOutput(Style(settings.log_format, journal=journal), **files) as output,
        contextlib.redirect_stderr(output.stream(ending.STDERR)),
        handler.installed(output.records(ending.STDERR), settings.log_level),
    ):
        signals.report_ignored()
        handed = activation.take(os.environ, os.getpid())
        ended = run_supervisor(read, source=source, output=output, manager=manager, handed=handed)
        if ended.killed:
            say(f"flaskd: {ended.name} was killed: it waited for no request", priority.Priority.WARNING)
        else:
            banner.farewell(ended.name, ended.result)
    ending.exit_now(ending.KILLED if ended.killed else 0 if ended.result.clean else ending.CUT)


class _Source:
    """The settings of `flaskd run`, which a reload reads again."""

    def __init__(self, given: Given) -> None:
        self._given = given
        # As for the workers: a reload may find another directory by this name.
        self._directory = logical_directory()

    def read(self) -> ReadSettings:
        """Read and check the settings; raises FlaskdError."""
        read = self.look()
        _check_process(read.settings)
        return read

    def look(self) -> ReadSettings:
        """Read the settings without looking at this process; raises FlaskdError."""
        return read_settings(self._given.find(directory=self._directory))


@main.command(cls=AppCommand, short_help="Load APP and check the settings, without serving.")
@click.option(
    "--traceback",
    "show_traceback",
    is_flag=True,
    help="Show the traceback if the application cannot be loaded.",
)
def check(given: Given, show_traceback: bool) -> None:
    """Load APP and check the settings, without serving. Reports the first error.

    Example: flaskd check shop:app
    """
    from flaskd.app.hooks import Hooks
    from flaskd.app.loader import load
    from flaskd.app.namesakes import modules_of_flask
    from flaskd.app.patches import refuse_monkey_patching
    from flaskd.engines.factory import check_engine
    from flaskd.listening import addresses, tls

    settings = settings_from(given.find())
    place = place_for(
        settings.name, runtime_dir=settings.runtime_dir or None, environ=os.environ, uid=os.geteuid()
    )
    _check_process(settings)
    for address in settings.bind:
        addresses.parse(address)
    secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    check_engine(choose(settings.engine, tls=secured is not None).name, tls=secured)
    refuse_monkey_patching()
    try:
        loaded = load(settings.app, kept=modules_of_flask)
        Hooks(settings)
    except LoadError as error:
        if show_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise
    check_tcp(settings, place)
    rules = getattr(getattr(loaded, "url_map", None), "_rules", None)
    kind = "WSGI" if rules is None else "Flask"
    count = "" if rules is None else f" with {len(rules)} URL rule{'s' if len(rules) != 1 else ''}"
    _print(
        f"{settings.app} is a {kind} application{count}; it would serve {', '.join(settings.bind)} as {settings.name!r} in "
        f"{place.directory}"
    )


@main.command(cls=AppCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(given: Given, as_json: bool) -> None:
    """Show the value of each setting and its source.

    Example: FLASKD_GRACE=10 flaskd config
    """
    found = given.find(app_required=False)
    for name in unknown_variables(os.environ):
        click.echo(f"flaskd: {name} is set, and there is no setting of that name", err=True)
    if as_json:
        table = {name: each._asdict() for name, each in found.items()}
        _print(json.dumps(table, indent=2))  # not msgspec's: an argument may hold bytes that are no UTF-8
        return
    values = {name: shown(each.value) or "-" for name, each in found.items()}
    names, widest = max(map(len, values)), max(map(len, values.values()))
    _print(
        "\n".join(f"{name:{names}}  {value:{widest}}  {found[name].place}" for name, value in values.items())
    )


@main.command(cls=SettingsCommand, short_help="Find timeouts around an instance that would lose requests.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--unit", "units", multiple=True, metavar="NAME", help="Check a unit that systemd has loaded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(given: Given, files: tuple[str, ...], units: tuple[str, ...], as_json: bool) -> None:
    """Compare the timeouts of an instance with those of the programs around it, and report what would lose requests.

    FILE is a systemd unit, Kubernetes manifests, a Docker stack, haproxy.cfg or nginx.conf; - is standard input. Settings that
    no FILE gives are those of `flaskd config`. Exit codes: 0 if nothing loses requests, 1 if something will or may, 2 if a FILE
    cannot be read.

    Example: flaskd doctor shop.service haproxy.cfg
    """
    from flaskd.doctor import examine

    if not files and not units:
        raise click.UsageError("nothing to check: name a file, or a unit with --unit")
    try:
        found = examine(files, units=units, local=given.find(app_required=False))
        _print(found.as_json() if as_json else found.as_text())
    except (FlaskdError, BadPlace) as error:
        _fail(error, status=2)
    sys.exit(1 if found.loses else 0)


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
    _print(f"{made.public}: give this one to the other side\n{made.secret}: keep this one secret")


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
        _print("\n".join(f"wrote {path}" for path in make_unit.write(files, output)))
    else:
        texts = (f"# {make_unit.PLACE}/{name}\n{text}" for name, text in files.items())
        _print("\n".join(texts).removesuffix("\n"))


def _check_process(settings: Settings) -> None:
    """Raise FlaskdError where a user or group is missing, or this process lacks permissions or descriptors."""
    rules = rules_of(settings, owner=os.geteuid())
    identity = identity_of(settings.worker_user)
    if identity is not None:
        actor = Actor(via="control", uid=identity.uid, gid=identity.gid)
        role = role_of(Caller(actor, frozenset(identity.groups)), rules)
        if role is not None:
            who = f"--worker-user {settings.worker_user}"
            say(f"flaskd: {who} has the role {role.value}: the application can operate its supervisor")
    ending.check_descriptors(settings.threads, ending.raise_descriptor_limit())


def _print(text: str) -> None:
    """Write a result to stdout. Raises FlaskdError where that fails, but not where the reader has left."""
    try:
        click.echo(text)
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # the interpreter flushes once more when it exits
        os.close(null)
        if not isinstance(error, BrokenPipeError):
            raise FlaskdError(
                f"the result cannot be written to stdout: {error.strerror}",
                hint="choose another place for it",
            ) from None


def _fail(error: FlaskdError | BadPlace, *, status: int = 1) -> NoReturn:
    sentence = f"flaskd: {error}" + (f". Next: {error.hint}" if error.hint else "")
    click.echo(priority.marked(sentence, priority.Priority.ERR), err=True)
    sys.exit(status)
