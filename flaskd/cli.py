"""The command line of the daemon: `flaskd run`, `check`, `config`. Options are derived from `config.Settings`."""

import contextlib
import functools
import json
import logging
import os
import sys
import traceback
import typing
from typing import Any, NoReturn

import click

from flaskd.console import banner, priority
from flaskd.console.say import say
from flaskd.control.access.grants import rules_of
from flaskd.control.access.policy import Caller, role_of
from flaskd.control.server import remote_of
from flaskd.engines.choice import choose
from flaskd.errors import ConfigError, FlaskdError, LoadError
from flaskd.listening import listeners
from flaskd.process import ending, signals
from flaskd.settings.identity import identity_of
from flaskd.settings.schema import (
    FIELDS,
    Provenance,
    Settings,
    resolve,
    settings_from,
    unknown_variables,
)
from flaskd.settings.target import default_name
from flaskd.systemd import activation
from flaskd.systemd.notify import Manager
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.errors import BadPlace
from flaskd_ctl.protocol import Actor

Found = dict[str, Provenance]


def _shown(value: Any) -> str:
    """Write a setting's value as the option, the environment and TOML have it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


class SettingsCommand(click.Command):
    """A command with one option for each setting, and `--config`."""

    def __init__(self, name: str | None, *, params: list[click.Parameter], **attributes: Any) -> None:
        super().__init__(name, params=[*params, *_settings_options()], **attributes)


@functools.cache
def _settings_options() -> list[click.Option]:
    """Make the options once: all commands can have the same ones, and each costs a supervisor a KiB."""
    settings = [_option(name, field.type, field.default) for name, field in FIELDS.items() if name != "app"]
    file_help = "TOML file to read in place of flaskd.toml and pyproject.toml."
    return [*settings, click.Option(["--config", "file"], metavar="FILE", help=file_help)]


def _option(name: str, declared: Any, default: Any) -> click.Option:
    kind, meta = typing.get_args(declared)[0], declared.__metadata__[-1]
    flag = name.replace("_", "-")
    shown = _shown(default)
    text = f"{meta.description}  [{f'default: {shown}; ' if shown != '' else ''}FLASKD_{name.upper()}]"
    if kind is bool:
        return click.Option([f"--{flag}/--no-{flag}", name], default=None, help=text)
    multiple = isinstance(default, tuple)
    metavar = "NUMBER" if isinstance(default, int) else "SECONDS" if isinstance(default, float) else "TEXT"
    return click.Option([f"--{flag}", name], multiple=multiple, metavar=metavar, help=text)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flaskd")
def main() -> None:
    """Run a Flask application as a daemon that can be operated with flaskd_ctl.

    A bad setting or an application that cannot be loaded ends with 1, a wrong command line with 2.
    """


@main.command(cls=SettingsCommand)
@click.argument("app", required=False)
def run(app: str | None, file: str | None, **options: Any) -> None:
    """Serve APP until it is told to stop.

    APP is module:attribute, module:factory(), a module that holds app or create_app, or a path (shop.py:app). SIGTERM, SIGINT
    and `flaskd_ctl shutdown` stop it without losing a request.

    Example: flaskd run shop:app --bind 127.0.0.1:8000 --name shop
    """
    from flaskd.process import reaper

    reaper.end_when_told()
    from flaskd.process.directory import logical_directory
    from flaskd.supervisor.daemon import Daemon
    from flaskd.supervisor.output import Relay

    directory = logical_directory()  # as for the workers: what it names may be another one at a reload

    def read() -> Settings:
        settings = settings_from(_resolved(app, file, options, directory=directory))
        _check_users(settings)
        ending.check_descriptors(settings.threads, ending.raise_descriptor_limit())
        return settings

    ending.fill_standard_descriptors()
    signals.hold()  # before the first thread is started
    manager = Manager.of(os.environ, os.getpid())
    with Relay() as relay, contextlib.redirect_stderr(relay.voice(ending.STDERR)):
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        if priority.journal_reads(ending.STDERR, os.environ):
            priority.mark_lines()
        try:
            handed = activation.take(os.environ, os.getpid())
            daemon = Daemon(read(), reread=read, relay=relay, manager=manager, handed=handed)
            daemon.bus.subscribe(lambda event: banner.announce(daemon, event))
            result = daemon.run()
        except (FlaskdError, BadPlace) as error:
            _fail(error)
        if daemon.killed:
            say(f"flaskd: {daemon.name} was killed: nothing was waited for", priority.Priority.WARNING)
        else:
            banner.farewell(daemon, result)
    ending.end_now(ending.KILLED if daemon.killed else 0)


@main.command(cls=SettingsCommand, short_help="Load APP and say what is wrong; bind nothing.")
@click.argument("app", required=False)
@click.option(
    "--traceback",
    "show_traceback",
    is_flag=True,
    help="Show the whole traceback of an application that fails.",
)
def check(app: str | None, file: str | None, show_traceback: bool, **options: Any) -> None:
    """Load APP and check the settings, without binding anything; say what is wrong.

    Example: flaskd check shop:app
    """
    from flaskd.app.hooks import Hooks
    from flaskd.app.loader import load
    from flaskd.engines.factory import check_engine
    from flaskd.listening import tls

    try:
        settings = settings_from(_resolved(app, file, options))
        place = place_for(
            settings.name, runtime_dir=settings.runtime_dir or None, environ=os.environ, uid=os.geteuid()
        )
        _check_users(settings)
        ending.check_descriptors(settings.threads, ending.raise_descriptor_limit())
        for address in settings.bind:
            listeners.parse(address)
        secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        check_engine(choose(settings.engine, tls=secured is not None).name, tls=secured)
        loaded = load(settings.app)
        Hooks(settings)
        if (remote := remote_of(settings, place)) is not None:
            remote.check()
    except LoadError as error:
        if show_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        _fail(error)
    except (FlaskdError, BadPlace) as error:
        _fail(error)
    rules = getattr(getattr(loaded, "url_map", None), "_rules", None)
    what = (
        "a WSGI application"
        if rules is None
        else f"a Flask application with {len(rules)} URL rule{'s' if len(rules) != 1 else ''}"
    )
    _tell(
        f"{settings.app} is {what}; it would serve {', '.join(settings.bind)} as {settings.name!r} in {place.directory}"
    )


@main.command(cls=SettingsCommand)
@click.argument("app", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(app: str | None, file: str | None, as_json: bool, **options: Any) -> None:
    """Show each setting's value and where it came from.

    Example: FLASKD_GRACE=10 flaskd config
    """
    try:
        found = _resolved(app, file, options, required=False)
    except (FlaskdError, BadPlace) as error:
        _fail(error)
    for variable in unknown_variables(os.environ):
        click.echo(f"flaskd: {variable} is set, and there is no setting of that name", err=True)
    if as_json:
        table = {name: {"value": each.value, "source": each.source} for name, each in found.items()}
        _tell(json.dumps(table, indent=2))  # not msgspec's: an argument may hold bytes that are no UTF-8
        return
    values = {name: _shown(each.value) or "-" for name, each in found.items()}
    names, widest = max(map(len, values)), max(map(len, values.values()))
    _tell(
        "\n".join(f"{name:{names}}  {value:{widest}}  {found[name].source}" for name, value in values.items())
    )


@main.command(cls=SettingsCommand, short_help="Find deadlines around an instance that would lose requests.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--unit", "units", multiple=True, metavar="NAME", help="Ask systemd for a unit that it has loaded."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(
    files: tuple[str, ...], units: tuple[str, ...], as_json: bool, file: str | None, **options: Any
) -> None:
    """Compare our deadlines with those in FILEs: a systemd unit, Kubernetes manifests, a Docker stack, haproxy.cfg, nginx.conf.

    Settings that a FILE gives are taken from there, others are those of `flaskd config`. FILE may be - for what is piped in.
    Exits with 0 where nothing loses requests, 1 where something will or may, 2 for what cannot be read.

    Example: flaskd doctor shop.service haproxy.cfg
    """
    from flaskd import doctor as examination

    if not files and not units:
        raise click.UsageError("nothing to look at: name a file, or a unit with --unit")
    try:
        local = _resolved(None, file, options, required=False)
        found = examination.examine(files, units=units, local=local)
    except (FlaskdError, BadPlace) as error:
        _fail(error, status=2)
    _tell(examination.as_json(found) if as_json else examination.as_text(found), status=2)
    sys.exit(1 if found.loses else 0)


@main.command(short_help="Make a pair of CURVE keys, for tcp:// endpoints.")
@click.argument("name")
@click.option(
    "--directory", default=".", metavar="DIRECTORY", help="Where to write them; made where it is not there."
)
@click.option(
    "--force", is_flag=True, help="Replace a pair of that name: who uses the old one is locked out."
)
def keygen(name: str, directory: str, force: bool) -> None:
    """Make a pair of CURVE keys: NAME.key, the public one, and NAME.key_secret, which is for its owner alone.

    An instance needs one (--curve-key), and so does each client (flaskd_ctl --key). The two sides give each other their public
    keys: clients' go into the directory of --authorized-keys, where NAME is what the client is called.

    Example: flaskd keygen shop --directory /etc/flaskd
    """
    from flaskd.control.tcp.keygen import make_pair

    try:
        made = make_pair(name, directory, force=force)
    except FlaskdError as error:
        _fail(error)
    _tell(f"{made.public}: give this one to the other side\n{made.secret}: keep this one secret")


@main.group(name="systemd")
def under_systemd() -> None:
    """Run under systemd: see docs/systemd.md."""


@under_systemd.command(cls=SettingsCommand, short_help="Print a hardened unit that serves APP.")
@click.argument("app", required=False)
@click.option(
    "--socket", is_flag=True, help="Let systemd open the listeners: a restart refuses no connection."
)
@click.option(
    "--template", is_flag=True, help="Make flaskd@.service, for several applications; %i is its name."
)
@click.option(
    "--user", metavar="NAME", default="", help="Whom to run as; default: a user that systemd makes up."
)
@click.option(
    "--directory", metavar="DIR", default="", help="Where the application is; default: the current directory."
)
@click.option(
    "--watchdog", metavar="SECONDS", type=click.FloatRange(0), default=0.0, help="Set WatchdogSec=."
)
@click.option("--notify-reload", is_flag=True, help="Use Type=notify-reload; needs systemd 253.")
@click.option("--program", metavar="PATH", default="", help="The flaskd to run; default: this one.")
@click.option("--output", metavar="DIR", default="", help="Write the files there; default: print them.")
def unit(app: str | None, file: str | None, output: str, **options: Any) -> None:
    """Print a complete, hardened unit that serves APP. Options of `flaskd run` are those of the service.

    Example: flaskd systemd unit shop:app --socket --bind 127.0.0.1:8000 --output /etc/systemd/system
    """
    from flaskd.systemd import making

    own = {name: options.pop(name) for name in making.OPTIONS}
    try:
        made = making.make(app or "", options, config=file or "", **own)
        if output:
            said = "\n".join(f"wrote {path}" for path in making.write(made, output))
        else:
            said = "\n".join(f"# {making.PLACE}/{name}\n{text}" for name, text in made.items()).removesuffix(
                "\n"
            )
    except (FlaskdError, BadPlace) as error:
        _fail(error)
    _tell(said)


def _resolved(
    app: str | None,
    file: str | None,
    options: dict[str, Any],
    *,
    required: bool = True,
    directory: str | None = None,
) -> Found:
    """Find the settings, as seen from `directory` (None: the current one)."""
    try:
        here = directory or os.getcwd()
    except FileNotFoundError:
        raise ConfigError(
            "the current directory has been removed", hint="change to one that exists"
        ) from None
    found = resolve({"app": app, **options}, environ=os.environ, directory=here, file=file)
    target = found["app"].value.strip()
    if not target.partition(":")[0] and required:
        raise LoadError("no application was named", hint="name it: flaskd run shop:app")
    if target and not found["name"].value:
        found["name"] = Provenance(default_name(target, here), "the application's name")
    return found


def _check_users(settings: Settings) -> None:
    """Raise ConfigError where a user or group is not there, or we cannot become it; say what a worker should not be."""
    rules = rules_of(settings, owner=os.geteuid())
    identity = identity_of(settings.worker_user)
    if identity is None:
        return
    actor = Actor(via="control", uid=identity.uid, gid=identity.gid)
    role = role_of(Caller(actor, frozenset(identity.groups)), rules)
    if role is not None:
        who = f"--worker-user {settings.worker_user}"
        say(f"flaskd: {who} has the role {role.value}: the application can operate its supervisor")


def _tell(text: str, *, status: int = 1) -> None:
    """Write a result to stdout, or end with `status` where it cannot be written. A reader that has left is no failure."""
    try:
        click.echo(text)
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # for what the interpreter flushes once more at its exit
        os.close(null)
        if not isinstance(error, BrokenPipeError):
            said = f"the result cannot be written to stdout: {error.strerror}"
            _fail(FlaskdError(said, hint="choose another place for it"), status=status)


def _fail(error: FlaskdError | BadPlace, *, status: int = 1) -> NoReturn:
    said = f"flaskd: {error}" + (f". Next: {error.hint}" if error.hint else "")
    click.echo(priority.marked(said, priority.Priority.ERR), err=True)
    sys.exit(status)
