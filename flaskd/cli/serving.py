"""The commands that serve an application: `run`, `dev` and `start`."""

import contextlib
import os

from flaskd.cli.group import fail, main, write
from flaskd.cli.this_process import check_process
from flaskd.console import banner, priority
from flaskd.console.say import say
from flaskd.errors import ConfigError
from flaskd.process import ending, inherited, signals, threads
from flaskd.process.directory import logical_directory
from flaskd.process.name import SUPERVISOR, name_process
from flaskd.settings import flask_environment
from flaskd.settings.options import AppCommand, Given
from flaskd.settings.schema import size
from flaskd.settings.sources import ReadSettings, read_settings, unknown_variables
from flaskd.start.starter import Starter
from flaskd.systemd import activation
from flaskd.systemd.notify import ServiceManager


@main.command(cls=AppCommand)
def run(given: Given) -> None:
    """Serve APP until it is stopped.

    APP is module:attribute, module:factory(), a module that holds app or create_app, or a path (shop.py:app). SIGTERM, SIGINT
    and `flaskd_ctl shutdown` stop it without losing a request. Each option may also be set in the environment, by the name in
    brackets, or in flaskd.toml.

    Exit codes: 0 if it was stopped and every request was answered, 6 if requests were cut, 137 after `flaskd_ctl kill`.

    Example: flaskd run shop:app --bind 127.0.0.1:8000 --name shop
    """
    _serve(given)


@main.command(cls=AppCommand, short_help="Develop: serve APP, and reload it when its code changes.")
def dev(given: Given) -> None:
    """Serve APP while you develop it: `flaskd run --dev`.

    A change of code, templates, .env or flaskd.toml replaces the worker. If the new code does not load, you see the traceback
    and the code before serves on. Errors show Werkzeug's debugger in the browser; FLASK_DEBUG=0 switches it off. Without APP,
    the application is found as `flask` finds it: FLASK_APP (also from .env and .flaskenv), wsgi.py, app.py.

    It needs the extra `dev`: pip install 'flaskd[dev]'

    Example: flaskd dev shop:app
    """
    _serve(given._replace(options={**given.options, "dev": True}))


def _serve(given: Given) -> None:
    from flaskd.process import reaper

    reaper.exit_on_sigterm()
    from flaskd.logs import handler
    from flaskd.logs.sinks import Style
    from flaskd.supervisor.main import run as run_supervisor
    from flaskd.supervisor.output import WorkerOutput

    source = Source(given)
    name_process(SUPERVISOR)
    inherited.fill_standard_descriptors()
    signals.block()  # before the first thread is started
    threads.check_threads()
    starter = Starter.from_environment(os.environ)
    manager = ServiceManager.from_environment(os.environ, os.getpid())
    journal = priority.journal_reads(ending.STDERR, os.environ)
    if journal:
        priority.mark_lines()
    read = source.read()
    settings = read.settings
    files = {"log_file": settings.log_file, "access_log_file": settings.access_log_file}
    log_max_size = size(settings.log_max_size)
    with (
        WorkerOutput(
            Style(settings.log_format, journal=journal), log_max_size=log_max_size, **files
        ) as output,
        contextlib.redirect_stderr(output.stream(ending.STDERR)),
        handler.installed(output.records(ending.STDERR), settings.log_level),
    ):
        signals.report_ignored()
        for line in unknown_variables(os.environ):
            say(f"flaskd: {line}", priority.Priority.WARNING)
        handed = activation.take(os.environ, os.getpid())
        if settings.dev and handed:
            raise ConfigError(
                "--dev is for a terminal, and here a service manager has opened the listeners",
                hint="use `flaskd run` without --dev",
            )
        ended = run_supervisor(
            read, source=source, output=output, manager=manager, handed=handed, starter=starter
        )
        if ended.killed:
            say(f"flaskd: {ended.name} was killed: it waited for no request", priority.Priority.WARNING)
        else:
            banner.farewell(ended.name, ended.result)
    ending.exit_now(ending.KILLED if ended.killed else 0 if ended.result.clean else ending.CUT)


@main.command(cls=AppCommand)
def start(given: Given) -> None:
    """Serve APP in the background, and return when it serves.

    It goes on after you log out. It takes the options of `flaskd run`, and writes its log to a file in the state directory
    (~/.local/state/flaskd), unless --log-file names another. If it cannot serve, the end of the log is shown. `flaskd_ctl
    restart` stops it and starts it again in the same way.

    Exit codes: 0 when it serves, otherwise that of `flaskd run`.

    Example: flaskd start shop:app --bind 127.0.0.1:8000
    """
    from flaskd.start.command import StartFailed, start as start_in_background

    inherited.fill_standard_descriptors()
    try:
        started = start_in_background(given)
    except StartFailed as error:
        fail(error, status=error.code)
    write(
        f"{started.name} serves {', '.join(started.listeners)}, pid {started.pid}\n"
        f"  log      {started.log}\n"
        f"  ask      {started.client} status\n"
        f"  stop     {started.client} shutdown\n"
        f"  restart  {started.client} restart"
    )


class Source:
    """The settings of `flaskd run`, which a reload reads again."""

    def __init__(self, given: Given) -> None:
        self._given = given
        # As for the workers: a reload may find another directory by this name.
        self._directory = logical_directory()
        self._environment = flask_environment.Environment(os.environ)
        # As it was first read, until the end: other defaults and another environment come with it.
        self._dev: bool | None = None

    def read(self) -> ReadSettings:
        """Read and check the settings; raises FlaskdError. With --dev, the environment is set that workers inherit."""
        read = self.look()
        if self._dev not in {None, read.settings.dev}:
            was, now = ("--dev", "without it") if self._dev else ("without --dev", "with it")
            raise ConfigError(
                f"this instance runs {was}, and cannot go on {now}", hint="restart it, or change `dev` back"
            )
        self._dev = read.settings.dev
        check_process(read.settings)
        if read.settings.dev:
            self._environment.renew()
        return read

    def look(self) -> ReadSettings:
        """Read the settings without looking at this process; raises FlaskdError."""
        return read_settings(self._given.find(environ=self._environment.own(), directory=self._directory))
