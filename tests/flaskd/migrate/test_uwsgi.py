"""`flaskd migrate uwsgi`: its ini files, and what becomes of the options."""

import os
from pathlib import Path

import click
import pytest

from flaskd.errors import ConfigError
from flaskd.migrate.uwsgi import option_of
from tests.flaskd.migrate.conftest import Migrate, Result


@pytest.fixture
def uwsgi(migrated: Migrate) -> Migrate:
    """Migrate an ini file with these lines."""

    def run(text: str, **environ: str) -> Result:
        return migrated("uwsgi", "uwsgi.ini", files={"uwsgi.ini": f"[uwsgi]\n{text}\n"}, **environ)

    return run


def test_a_usual_file(uwsgi: Migrate) -> None:
    """Each option that has an equivalent, in flaskd's units."""
    result = uwsgi("""
module = shop:app
http = 127.0.0.1:9000
master = true
processes = 4
threads = 2
harakiri = 30
max-requests = 5000
max-requests-delta = 10
max-worker-lifetime = 3600
reload-on-rss = 512
reload-mercy = 8
listen = 1024
disable-logging = true
logto = /var/log/shop.log
""")

    assert result.settings == {
        "app": "shop:app",
        "bind": "127.0.0.1:9000",
        "workers": 4,
        "threads": 2,
        "backlog": 1024,
        "grace": 8,
        "max_requests": 5000,
        "max_requests_jitter": 10,
        "max_worker_age": 3600,
        "max_worker_memory": "512M",
        "worker_timeout": 30,
        "log_file": "/var/log/shop.log",
    }
    assert result.said("master").startswith("not needed")


def test_defaults_of_uwsgi_stay(uwsgi: Migrate) -> None:
    """One request at a time, and a log of requests."""
    result = uwsgi("module = shop")

    assert result.settings == {
        "app": "shop:application",
        "workers": 1,
        "threads": 1,
        "access_log": "combined",
    }
    assert "thread-safe" in result.said("threads")


@pytest.mark.parametrize(
    ("lines", "app"),
    [
        ("module = shop:app", "shop:app"),
        ("wsgi = shop\ncallable = app", "shop:app"),
        ("wsgi-file = src/shop.py", "src/shop.py:application"),
        ("wsgi-file = src/shop.py\ncallable = app", "src/shop.py:app"),
        ("module = shop:make()", "shop:make()"),
    ],
)
def test_the_application(uwsgi: Migrate, lines: str, app: str) -> None:
    """A module or a file, and a callable."""
    assert uwsgi(lines).settings["app"] == app


@pytest.mark.parametrize(
    ("lines", "bind"),
    [
        ("http-socket = :9000", "0.0.0.0:9000"),
        ("http = *:9000", "0.0.0.0:9000"),
        ("http = [::1]:9000", "[::1]:9000"),
        ("socket = /run/shop.sock", "unix:/run/shop.sock"),
        (
            "socket = 127.0.0.1:1\nsocket = 127.0.0.1:2\nhttp = 127.0.0.1:3",
            ["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:2"],
        ),
        ("socket = fd://3", None),
    ],
)
def test_addresses(uwsgi: Migrate, lines: str, bind: str | list[str] | None) -> None:
    """Several sockets of several kinds are one list; a socket of uWSGI's protocol becomes one of HTTP."""
    result = uwsgi(lines)

    assert result.settings.get("bind") == bind
    assert ("proxy_pass" in result.said("socket")) == ("socket = " in lines and "http-socket" not in lines)


def test_greenlets_become_threads(uwsgi: Migrate) -> None:
    """And only that is said of threads."""
    result = uwsgi("gevent = 100")

    assert result.settings["threads"] == 100
    assert "monkey.patch_all()" in result.said("gevent")
    assert not result.said("threads")


def test_https(uwsgi: Migrate) -> None:
    """An address, a certificate and a key in one value."""
    result = uwsgi("https = 127.0.0.1:8443,cert.pem,key.pem,HIGH")

    found = {name: result.settings[name] for name in ("bind", "tls_cert", "tls_key")}
    assert found == {"bind": "127.0.0.1:8443", "tls_cert": "cert.pem", "tls_key": "key.pem"}
    assert "ciphers" in result.said("https")


def test_references_are_resolved(uwsgi: Migrate, tmp_path: Path) -> None:
    """Placeholders, the file's own name and place, the environment; a placeholder is no unknown option."""
    result = uwsgi(
        "project = shop\nset-placeholder = part=app\nmodule = %(project):%(part)\nsocket = %d%n.sock\nprocesses = $(N)\n"
        "logto = /var/log/100%%.log",
        N="3",
    )

    assert result.settings["app"] == "shop:app"
    assert result.settings["bind"] == f"unix:{tmp_path}/uwsgi.sock"
    assert result.settings["workers"] == 3
    assert result.settings["log_file"] == "/var/log/100%.log"
    assert not result.said("project")


def test_cheaper_is_a_range(uwsgi: Migrate) -> None:
    """From as few to as many."""
    assert uwsgi("processes = 8\ncheaper = 2").settings["workers"] == "2..8"


def test_the_number_of_cores(uwsgi: Migrate) -> None:
    """`%k`."""
    assert uwsgi("processes = %k").settings["workers"] == os.cpu_count()


def test_files_that_are_included_and_sections(migrated: Migrate, tmp_path: Path) -> None:
    """A shared file first, then this one's own; sections by name."""
    files = {
        "base.ini": "[uwsgi]\nprocesses = 2\nthreads = 4\n[dev]\nprocesses = 1\n",
        "uwsgi.ini": "[uwsgi]\nini = base.ini\nprocesses = 8\n",
    }

    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "other.ini").write_text("[uwsgi]\nini = base.ini\nthreads = 5\n")
    both = migrated("uwsgi", "uwsgi.ini", files=files).settings
    other = migrated("uwsgi", "conf/other.ini").settings
    section = migrated("uwsgi", "--ini", "base.ini:dev").settings

    assert (both["workers"], both["threads"]) == (8, 4)
    assert section["workers"] == 1
    assert (other["workers"], other["threads"]) == (2, 5)


def test_the_command_line_wins(migrated: Migrate) -> None:
    """It has the same options."""
    files = {"uwsgi.ini": "[uwsgi]\nprocesses = 2\n"}

    assert (
        migrated("uwsgi", "--ini", "uwsgi.ini", "-p", "3", "--module", "shop:app", files=files).settings[
            "workers"
        ]
        == 3
    )


def test_what_is_done_elsewhere(uwsgi: Migrate) -> None:
    """With the values that somebody needs, except those of variables."""
    result = uwsgi(
        "chdir = /srv/shop\nhome = /srv/shop/.venv\nenv = A=geheim\nenv = B=2\nstats = 127.0.0.1:9191\nattach-daemon = celery"
    )

    assert "start flaskd in /srv/shop" in result.said("chdir")
    assert "/srv/shop/.venv/bin/flaskd" in result.said("virtualenv")
    assert "set A, B where" in result.said("env")
    assert "geheim" not in "".join(result.lines)
    assert '# health = "127.0.0.1:9191"' in result.text
    assert result.said("attach-daemon").startswith("elsewhere")


def test_families_and_unknown_options(uwsgi: Migrate) -> None:
    """An option of a family has its row; another one is named, with its line."""
    result = uwsgi("static-map = /static=/srv/static\ncheaper-initial = 2\nno-such-thing = 1")

    assert "let the proxy in front do it" in result.said("static-map")
    assert "by queue and busy threads" in result.said("cheaper-initial")
    assert result.said("no-such-thing") == (
        "no equivalent: no-such-thing (uwsgi.ini, line 4): flaskd does not know this option of uWSGI"
    )


def test_false_is_false(uwsgi: Migrate) -> None:
    """`master = false` is not news; a word that is neither is an error."""
    assert not uwsgi("master = false").said("master")
    with pytest.raises(ConfigError, match=r"uwsgi\.ini, line 2: master cannot be 'perhaps'"):
        uwsgi("master = perhaps")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("if-env = DEBUG\nprocesses = 1\nendif =", r"uwsgi\.ini, line 2: if-env is configuration logic"),
        ("processes = $(NOT_THERE)", r"line 2: \$\(NOT_THERE\) has no value here"),
        ("module = %(nothing):app", r"%\(nothing\) has no value here"),
        ("module = @(file)", r"@\( has no value here"),
        ("ini = other.ini", "cannot read .*other.ini: No such file"),
        ("ini = uwsgi.ini", "include one another without end"),
        ("processes = many", "processes cannot be 'many': expected a whole number"),
    ],
)
def test_files_that_cannot_be_read(uwsgi: Migrate, text: str, message: str) -> None:
    """A sentence with the line."""
    with pytest.raises(ConfigError, match=message):
        uwsgi(text)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ((), click.UsageError, "name uWSGI's ini file"),
        (("no.ini",), ConfigError, "cannot read .*no.ini: No such file"),
        (("uwsgi.xml",), ConfigError, "is not an ini file"),
        (("--prcesses", "2"), click.UsageError, "Did you mean --processes"),
        (("a.ini", "b.ini"), click.UsageError, "name one ini file"),
    ],
)
def test_arguments_that_are_wrong(
    migrated: Migrate, words: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    """A wrong command line, or a file that cannot be read."""
    with pytest.raises(kind, match=message):
        migrated("uwsgi", *words)


def test_a_file_without_the_section(migrated: Migrate) -> None:
    """The next step is in the hint."""
    with pytest.raises(ConfigError, match=r"has no options in a section \[uwsgi\]") as caught:
        migrated("uwsgi", "x.ini", files={"x.ini": "[other]\nprocesses = 1\n"})

    assert caught.value.hint == "name it: FILE.ini:SECTION"


def test_an_options_own_row_comes_before_its_family() -> None:
    """`log-slow` is not any `log*`."""
    assert option_of("log-slow") is not option_of("log-zero")
    assert option_of("nothing-of-uwsgi") is None
