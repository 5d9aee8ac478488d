"""What is typed for an option that is called otherwise here."""

from collections.abc import Sequence

import pytest

from flaskd.migrate import flask_run, waitress
from flaskd.migrate.gunicorn import table as gunicorn
from flaskd.migrate.option import Option
from flaskd.settings.elsewhere import ELSEWHERE, instead
from flaskd.settings.schema import FIELDS, variable
from flaskd.settings.sources import resolve, unknown_variables


def test_each_entry_leads_to_a_setting_or_says_what_to_do() -> None:
    """And no entry is an option that there is: it would never be read."""
    for name, found in ELSEWHERE.items():
        assert bool(found.settings) != bool(found.words), name
        assert FIELDS.keys() >= set(found.settings), name
        assert name == "app" or name.replace("-", "_") not in FIELDS, name  # the application has no option
        if found.value and len(found.settings) == 1 and found.value not in {"NAME", "UID:GID", "FILE"}:
            resolve({found.settings[0]: found.value}, environ={}, directory="/nonexistent")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--port", "use --bind 127.0.0.1:8000"),
        ("-w", "use --workers 4"),
        ("--timeout", "use --worker-timeout 60 or --request-timeout 60"),
        ("--daemon", "use `flaskd start`, which returns when it serves"),
        ("--pid", "`flaskd_ctl status` shows the pid; no file is needed"),
        ("--thread", "use --threads 8"),
        ("--lingr", "did you mean --linger?"),
        ("--log_level", "did you mean --log-level?"),
        ("--post", ""),
        ("--speed", ""),
    ],
)
def test_an_option_of_another_server(typed: str, said: str) -> None:
    """By its meaning where the spelling would mislead, else by its spelling, else nothing."""
    assert instead(typed) == said


def test_a_variable_and_a_key_are_written_as_such() -> None:
    """The next step can be copied."""
    assert instead("PORT", variable, assign="=") == "use FLASKD_BIND=127.0.0.1:8000"
    assert instead("THREADZ", variable, assign="=") == "did you mean FLASKD_THREADS?"
    assert instead("timeout", str, assign="") == "use worker_timeout or request_timeout"


def test_variables_that_are_no_settings_are_told_unless_they_are_anothers() -> None:
    """Those of flaskd_ctl, and in a container what Kubernetes sets for a service flaskd-shop."""
    service = dict.fromkeys(
        ["FLASKD_SHOP_SERVICE_HOST", "FLASKD_SHOP_SERVICE_PORT_HTTP", "FLASKD_SHOP_PORT_8000_TCP_ADDR"], "1"
    )
    environ = {"FLASKD_CTL_SSH": "ssh", "FLASKD_THREAD": "4", "FLASKD_GRACE": "1", "PATH": "/bin", **service}
    assert len(unknown_variables(environ)) == 4
    assert unknown_variables(environ | {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == [
        "FLASKD_THREAD is set, and there is no setting of that name: use FLASKD_THREADS=8"
    ]


@pytest.mark.parametrize("options", [flask_run.OPTIONS, gunicorn.OPTIONS, waitress.OPTIONS])
def test_a_guess_does_not_contradict_the_migration(options: Sequence[Option]) -> None:
    """What `flaskd migrate` makes a setting of is guessed as that setting, at least among others.

    Only `-p` is another's (a port for `flask run`, a pid file for gunicorn), and of a class of workers people mean the engine.
    """
    for row in options:
        for word in {*row.flags, row.name}:
            plain = word.lstrip("-")
            guess = ELSEWHERE.get(plain if len(plain) == 1 else plain.replace("_", "-"))
            if guess and guess.settings and plain not in {"p", "k", "worker-class", "worker_class"}:
                assert set(guess.settings) & set(row.here.settings), word
