"""The commands that look at an application, its settings and what is around it: `check`, `config` and `doctor`."""

import contextlib
import json
import os
import sys
import traceback

import click

from flaskd.cli.group import fail, main, write
from flaskd.cli.this_process import check_process
from flaskd.control.server import check_tcp
from flaskd.engines.choice import choose
from flaskd.errors import FlaskdError, LoadError
from flaskd.process import ending
from flaskd.settings.options import AppCommand, Given, SettingsCommand
from flaskd.settings.schema import shown
from flaskd.settings.sources import settings_from, unknown_variables
from flaskd_ctl.contract.endpoint import place_for
from flaskd_ctl.errors import BadPlace


@main.command(cls=AppCommand, short_help="Load APP and check the settings, without serving.")
@click.option(
    "--traceback",
    "show_traceback",
    is_flag=True,
    help="Show the traceback if the application cannot be loaded.",
)
def check(given: Given, show_traceback: bool) -> None:
    """Load APP and check the settings, without serving. Reports the first error.

    With --preload, also calls --pre-fork and finds threads and connections that would not survive a fork.

    Example: flaskd check shop:app
    """
    from flaskd.app.forkable import check_forkable
    from flaskd.app.hooks import Hooks
    from flaskd.app.loader import load
    from flaskd.app.namesakes import modules_of_flask
    from flaskd.app.patches import refuse_monkey_patching
    from flaskd.engines.factory import check_engine
    from flaskd.listening import addresses, tls
    from flaskd.process.capacity import capacity
    from flaskd.process.fork_hazards import ForkHazards
    from flaskd.process.resident import share
    from flaskd.settings.workers import bounds, uses_auto
    from flaskd.supervisor.scaling.sizing import sizing_of

    settings = settings_from(given.find())
    place = place_for(
        settings.name, runtime_dir=settings.runtime_dir or None, environ=os.environ, uid=os.geteuid()
    )
    check_process(settings)
    for address in settings.bind:
        addresses.parse(address)
    secured = tls.load(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    check_engine(choose(settings.engine, tls=secured is not None).name, tls=secured)
    refuse_monkey_patching()
    hazards = ForkHazards() if settings.preload else None
    try:
        loaded = load(settings.app, kept=modules_of_flask)
        hooks = Hooks(settings)
        if hazards is not None:
            hooks.forking(loaded, give_up=_give_up)
            check_forkable(settings.app, hazards)
    except LoadError as error:
        if show_traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        raise
    check_tcp(settings, place)
    rules = getattr(getattr(loaded, "url_map", None), "_rules", None)
    kind = "WSGI" if rules is None else "Flask"
    count = "" if rules is None else f" with {len(rules)} URL rule{'s' if len(rules) != 1 else ''}"
    write(
        f"{settings.app} is a {kind} application{count}; it would serve {', '.join(settings.bind)} as {settings.name!r} in "
        f"{place.directory}"
    )
    if uses_auto(settings.workers):
        sizing = sizing_of(capacity(), share(os.getpid()))  # as if this process were the first worker
        number = bounds(settings.workers, sizing.workers)
        least, most = f"{number.minimum}", f"{number.maximum}"
        write(
            f"--workers {settings.workers} is {least if least == most else f'{least}..{most}'} here: {sizing.why}"
        )


@main.command(cls=AppCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(given: Given, as_json: bool) -> None:
    """Show the value of each setting and its source.

    Example: FLASKD_GRACE=10 flaskd config
    """
    found = given.find(app_required=False)
    for line in unknown_variables(os.environ):
        click.echo(f"flaskd: {line}", err=True)
    if as_json:
        table = {name: each._asdict() for name, each in found.items()}
        write(json.dumps(table, indent=2))  # not msgspec's: an argument may hold bytes that are no UTF-8
        return
    values = {name: shown(each.value) or "-" for name, each in found.items()}
    names, widest = max(map(len, values)), max(map(len, values.values()))
    write(
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
        write(found.as_json() if as_json else found.as_text())
    except (FlaskdError, BadPlace) as error:
        fail(error, status=2)
    sys.exit(1 if found.loses else 0)


def _give_up(error: FlaskdError, _trace: str) -> None:
    """Exit with an error from another thread than the main one, which may hang."""
    with contextlib.suppress(SystemExit):
        fail(error)
    ending.exit_now(1)
