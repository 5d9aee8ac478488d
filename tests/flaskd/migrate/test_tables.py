"""The tables of other servers' options have every option of the installed server, and say of each what it is here."""

import re
from collections.abc import Iterable
from typing import Any

import flask.cli
import pytest
from gunicorn.config import KNOWN_SETTINGS
from waitress.adjustments import Adjustments

from flaskd.cli import main
from flaskd.migrate import SERVERS
from flaskd.migrate.option import Fate, Option, Takes
from flaskd.settings.schema import FIELDS
from flaskd_ctl.contract.commands import COMMANDS

GUNICORN: dict[str, Any] = {setting.name: setting for setting in KNOWN_SETTINGS}
ACTIONS = {
    Takes.VALUE: (None, None),
    Takes.VALUES: ("append", None),
    Takes.PERHAPS: (None, "?"),
}
OF_THIS_MACHINE = {"chdir", "user", "group", "control_socket", "ssl_version", "sendfile"}
"""Settings of gunicorn whose default is not the same everywhere, or None for true."""

EACH_SERVER = pytest.mark.parametrize("options", [server.OPTIONS for server in SERVERS.values()], ids=SERVERS)


def by_name(options: Iterable[Option]) -> dict[str, Option]:
    return {option.name: option for option in options}


def flags_of(options: Iterable[Option]) -> set[str]:
    return {flag for option in options for flag in option.flags}


def test_each_setting_of_gunicorn_is_there() -> None:
    """With its options, its default and its kind; where this fails, gunicorn has changed."""
    ours = by_name(SERVERS["gunicorn"].OPTIONS)

    assert GUNICORN.keys() <= ours.keys()
    for name, theirs in GUNICORN.items():
        option = ours[name]
        assert set(option.flags) == set(theirs.cli or ()), name
        if option.hook:
            assert callable(theirs.default), name
        elif name not in OF_THIS_MACHINE:
            assert option.default == theirs.default, name
        if option.flags and option.takes is Takes.NOTHING:
            assert theirs.action in {"store_true", "store_const"}, name
        elif option.flags:
            assert ACTIONS[option.takes] == (theirs.action, getattr(theirs, "nargs", None)), name


def test_each_setting_of_waitress_is_there() -> None:
    """And its switches, which have two spellings."""
    ours = by_name(SERVERS["waitress"].OPTIONS)

    names = {name for name, _ in Adjustments._params}
    assert names <= ours.keys()
    for name in names & ours.keys():
        default = getattr(Adjustments, name, None)
        if (
            ours[name].default is not None and name != "send_bytes"
        ):  # its help says 18000, which is no default any more
            assert ours[name].default == default, name


def test_each_option_of_flask_run_is_there() -> None:
    """Those of `flask` itself, too."""
    theirs = [*flask.cli.run_command.params, *flask.cli.FlaskGroup().params]
    spelt = {flag for param in theirs for flag in (*param.opts, *param.secondary_opts)} - {"--version"}

    assert spelt == flags_of(SERVERS["flask-run"].OPTIONS)


@EACH_SERVER
def test_each_row_says_what_the_option_is_here(options: tuple[Option, ...]) -> None:
    """A setting of flaskd, or a sentence; and no link, because the sentence is printed, too."""
    for option in options:
        here = option.here
        assert here.settings or here.text, option.name
        assert (here.fate is Fate.SETTING) == bool(here.settings), option.name
        assert set(here.settings) <= FIELDS.keys(), option.name
        assert "](" not in here.text, option.name


@EACH_SERVER
def test_settings_and_commands_that_a_row_names_exist(options: tuple[Option, ...]) -> None:
    """A sentence that sends somebody to what was renamed is worse than none."""
    text = "\n".join(option.here.text for option in options)
    settings = re.findall(r"`([a-z]+(?:_[a-z]+)+)(?: = [^`]*)?`", text)
    commands = re.findall(r"flaskd_ctl ([a-z-]+)", text)
    daemon = re.findall(r"`flaskd ([a-z-]+)", text)

    assert set(settings) - {"flaskd_ctl", "proxy_pass", "uwsgi_pass"} <= FIELDS.keys()
    assert set(daemon) <= main.commands.keys()
    assert {command.replace("-", "_") for command in commands} - {"wait"} <= COMMANDS.keys()
