"""The command `flaskd migrate`: what goes to which stream, and its exit codes."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flaskd.cli import main


@pytest.fixture
def flaskd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Flaskd":
    for variable in ("GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return Flaskd()


class Flaskd:
    """Runs the command line."""

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["migrate", *arguments])


def test_the_file_is_on_stdout_and_the_rest_on_stderr(flaskd: Flaskd) -> None:
    """So that `>flaskd.toml` is all that one needs."""
    done = flaskd(
        "gunicorn", "shop:app", "-w2", "-bhost:80", "--statsd-host", "localhost:8125", "--pid", "/run/x"
    )

    assert done.exit_code == 0
    assert done.stdout == (
        "# Made by `flaskd migrate gunicorn`. Put this file into the directory in which flaskd runs.\n"
        'app = "shop:app"\nbind = "host:80"\nworkers = 2\nthreads = 1\n# worker_timeout = 30\n'
    )
    lines = done.stderr.splitlines()
    assert all(line.startswith("flaskd: ") for line in lines)
    assert [line.split(": ")[1] for line in lines] == [
        "different",
        "different",
        "not needed",
        "no equivalent",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "Missing argument 'SERVER'"),
        (("nginx",), 2, "there is no server 'nginx': name one of gunicorn, uwsgi, waitress, flask-run"),
        (("gunicorn", "--wrkers", "2"), 2, "gunicorn has no option --wrkers. Did you mean --workers?"),
        (
            ("gunicorn", "-w", "many"),
            2,
            "Error: --workers: workers cannot be 'many': expected a whole number",
        ),
        (
            ("gunicorn", "-c", "no.py"),
            1,
            "there is no gunicorn configuration file no.py. Next: give its path",
        ),
        (("uwsgi", "no.ini"), 1, "No such file or directory. Next: name uWSGI's ini file"),
        (
            ("gunicorn", "shop:app", "-k", "uvicorn.workers.UvicornWorker"),
            1,
            "flaskd serves WSGI applications only. Next:",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    flaskd: Flaskd, arguments: tuple[str, ...], status: int, said: str
) -> None:
    """And nothing is printed that somebody could take for a configuration."""
    done = flaskd(*arguments)

    assert (done.exit_code, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_flaskds(flaskd: Flaskd) -> None:
    """gunicorn's -h is an option like others."""
    done = flaskd("--help")

    assert done.exit_code == 0
    assert "gunicorn, uwsgi, waitress or flask-run" in done.stdout
