"""`flaskd dev`: its settings, its refusals, and what it takes from Flask's environment."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask import cli as flask_cli

from flaskd.errors import ConfigError, LoadError
from flaskd.settings import developing, flask_environment
from flaskd.settings.options import Given
from flaskd.settings.schema import SETTINGS
from flaskd.settings.sources import Found, settings_from


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the current directory."""
    directory = tmp_path / "my shop"
    directory.mkdir()
    monkeypatch.chdir(directory)
    for name in [name for name in os.environ if name.startswith("FLASK_")]:
        monkeypatch.delenv(name)
    return directory


def found(project: Path, options: Mapping[str, object] | None = None, **environ: str) -> Found:
    return Given({"dev": True, **(options or {})}).find(environ=environ, directory=str(project))


def test_it_is_set_up_for_one_person_at_a_terminal(project: Path) -> None:
    """No time limits, one worker, and the engine that keeps no connection to old code."""
    settings = settings_from(found(project, {"app": "shop:app"}))
    assert (settings.engine, settings.access_log, settings.log_format) == ("werkzeug", "short", "plain")
    assert settings.worker_grace == settings.start_timeout == settings.hook_timeout == developing.DAY
    assert settings.grace < 5


def test_settings_for_production_in_a_file_are_not_used_and_others_are(project: Path) -> None:
    """The file lies in the project, for the service: `flaskd dev` still starts beside it."""
    (project / "flaskd.toml").write_text(
        'app = "shop:app"\nworkers = 4\nworker_timeout = 30\nlog_file = "/var/log/shop"\nengine = "waitress"\ngrace = 60\n'
        'access_log = "json"\nledger = false\nthreads = 3\n'
    )
    here = found(project)
    settings = settings_from(here)
    assert (settings.workers, settings.worker_timeout, settings.log_file) == ("1", 0.0, "")
    assert settings.ledger
    assert here["workers"].place == "--dev"
    assert (settings.engine, settings.grace, settings.access_log, settings.threads) == (
        "waitress",
        60,
        "json",
        3,
    )


def test_what_needs_a_setting_that_is_off_is_off_too() -> None:
    """Or a file for production would be refused for a setting that is not used."""
    off = {name for name, value in developing.PRODUCTION.items() if not value or value == "0"}
    for name, declared in SETTINGS.items():
        if off.intersection(declared.requires):
            assert name in off, f"{name} needs {declared.requires}"


def test_the_command_line_wins(project: Path) -> None:
    """Whoever types it means it."""
    settings = settings_from(found(project, {"app": "shop:app", "worker_timeout": "5", "grace": "9"}))
    assert (settings.worker_timeout, settings.grace) == (5, 9)


def test_more_workers_are_refused(project: Path) -> None:
    """A traceback's frames are in the memory of one."""
    with pytest.raises(ConfigError, match="--dev runs one worker, not 2"):
        settings_from(found(project, {"app": "shop:app", "workers": "2"}))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/tmp/x", "8000"]
)
def test_addresses_of_this_machine_are_allowed(project: Path, address: str) -> None:
    """The debugger is for whoever sits here."""
    settings_from(found(project, {"app": "shop:app", "bind": (address,)}))


@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "192.0.2.7:1"])
def test_a_public_address_is_refused_unless_it_is_meant(project: Path, address: str) -> None:
    """The debugger runs code."""
    asked = {"app": "shop:app", "bind": ("127.0.0.1:2", address)}
    with pytest.raises(ConfigError, match="other hosts can reach") as refused:
        settings_from(found(project, asked))
    assert "--dev-public" in refused.value.hint
    settings_from(found(project, {**asked, "dev_public": True}))


def test_without_dev_a_public_address_is_nobodys_business() -> None:
    """And nothing of this is looked at."""
    settings = settings_from(Given({"app": "shop:app", "bind": ("0.0.0.0:1",)}).find(environ={}))
    assert settings.grace == 30
    assert settings.engine == "auto"


def test_a_missing_extra_is_named_with_the_line_that_installs_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything else is tried."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setattr(developing, "missing_packages", lambda: ["watchfiles", "python-dotenv"])
    with pytest.raises(
        ConfigError, match="needs watchfiles and python-dotenv, which are not installed"
    ) as refused:
        found(project, {"app": "shop:app"})
    assert refused.value.hint == "pip install 'flaskd[dev]'"


def test_the_environment_is_that_of_flask(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set wins over .env, which wins over .flaskenv; the nearest file counts. Flask itself says the same."""
    (project.parent / ".env").write_text("FAR=1\n")
    (project.parent / ".flaskenv").write_text("A=parent\n")
    (project / ".env").write_text("A=env\nB=env\nC='${B} and ${D}'\nEMPTY=\nNOTHING\n")
    (project / ".flaskenv").write_text("A=flaskenv\nD=flaskenv\n")
    (project / "deep").mkdir()
    monkeypatch.chdir(project / "deep")
    monkeypatch.setenv("B", "set")

    ours = flask_environment.with_files(os.environ)
    flask_cli.load_dotenv()

    assert ours == dict(os.environ)
    assert (ours["A"], ours["B"], ours["D"]) == ("env", "set", "flaskenv")
    for name in ("A", "C", "D", "EMPTY"):
        monkeypatch.delenv(name, raising=False)


def test_flask_skip_dotenv_leaves_the_files_out(project: Path) -> None:
    """As with `flask`."""
    (project / ".env").write_text("A=env\n")
    assert "A" not in flask_environment.with_files({"FLASK_SKIP_DOTENV": "1"})
    assert flask_environment.with_files({"FLASK_SKIP_DOTENV": "0"})["A"] == "env"


def test_a_file_that_cannot_be_read_is_named(project: Path) -> None:
    """Not a traceback of the library's."""
    (project / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(LoadError, match=r"cannot read .*\.env"):
        found(project, {"app": "shop:app"})


def test_the_environment_of_workers_follows_the_files(project: Path) -> None:
    """What is removed from a file is gone at the next reload; what was set before is never touched."""
    own = {"B": "set", "PATH": "/bin"}
    environment = flask_environment.Environment(own)
    (project / ".env").write_text("A=1\nB=2\n")
    environment.renew()
    assert own == {"A": "1", "B": "set", "PATH": "/bin", "FLASK_DEBUG": "1", "WERKZEUG_RUN_MAIN": "true"}

    (project / ".env").write_text("C=3\nFLASK_DEBUG=0\n")
    environment.renew()
    assert own == {"C": "3", "B": "set", "PATH": "/bin", "FLASK_DEBUG": "0", "WERKZEUG_RUN_MAIN": "true"}
    assert environment.own() == {"B": "set", "PATH": "/bin"}


def test_the_application_is_found_as_flask_finds_it(project: Path) -> None:
    """APP, flaskd's own settings, FLASK_APP, wsgi.py, app.py; a module that is found is named by its directory."""
    with pytest.raises(LoadError, match=r"there is no wsgi.py or app.py in .*my shop"):
        found(project)

    (project / "app.py").touch()
    assert (found(project)["app"].value, found(project)["name"].value) == ("app.py", "my-shop")
    (project / "wsgi").mkdir()
    (project / "wsgi" / "__init__.py").touch()
    assert found(project)["app"].value == "./wsgi"

    (project / ".flaskenv").write_text("FLASK_APP=shop:create_app('x')\n")
    assert found(project)["app"][:2] == ("shop:create_app('x')", "FLASK_APP")
    assert found(project)["name"].value == "shop"
    assert found(project, FLASK_APP="other")["app"].value == "other"
    assert found(project, FLASK_APP="other", FLASKD_APP="ours")["app"].value == "ours"
    assert found(project, {"app": "named:app"}, FLASKD_APP="ours")["app"].value == "named:app"


def test_flaskd_variables_may_stand_in_the_files(project: Path) -> None:
    """One place for all."""
    (project / ".env").write_text("FLASKD_THREADS=5\n")
    assert found(project, {"app": "shop:app"})["threads"][:2] == (5, "FLASKD_THREADS")


def test_the_address_may_be_that_of_flask_run(project: Path) -> None:
    """A project has it in .flaskenv. Its own setting wins."""
    asked = {"app": "shop:app"}
    assert found(project, asked, FLASK_RUN_PORT="5050")["bind"].value == ("127.0.0.1:5050",)
    assert found(project, asked, FLASK_RUN_HOST="::1")["bind"].value == ("[::1]:8000",)
    assert found(project, asked, FLASK_RUN_PORT="5050", FLASKD_BIND="[::1]:1")["bind"].value == ("[::1]:1",)
    with pytest.raises(ConfigError, match="other hosts can reach"):
        settings_from(found(project, asked, FLASK_RUN_HOST="0.0.0.0"))
