"""`flaskd migrate gunicorn`: where the settings are found, and what becomes of them."""

import os
import pwd
from pathlib import Path

import click
import pytest

from flaskd.errors import ConfigError, FlaskdError
from flaskd.migrate.gunicorn import config_file
from flaskd.migrate.gunicorn.child import places
from tests.flaskd.migrate.conftest import Migrate

CONF = "gunicorn.conf.py"


def test_without_settings_the_service_is_gunicorns_default(migrated: Migrate) -> None:
    """One sync worker that serves one request at a time, on port 8000."""
    result = migrated("gunicorn", "shop:app")

    assert result.settings == {"app": "shop:app", "bind": "127.0.0.1:8000", "workers": 1, "threads": 1}
    assert "30 s, by default" in result.said("timeout")
    assert "# worker_timeout = 30" in result.text


def test_the_command_line_wins_then_the_variable_then_the_file(migrated: Migrate) -> None:
    """As for gunicorn itself."""
    files = {CONF: "workers = 2\nbacklog = 11\ngraceful_timeout = 7\nwsgi_app = 'old:app'\n"}

    result = migrated(
        "gunicorn",
        "new:app",
        "--workers=4",
        files=files,
        GUNICORN_CMD_ARGS="-w 3 --backlog 12",
        WEB_CONCURRENCY="9",
    )

    found = {name: result.settings[name] for name in ("app", "workers", "backlog", "grace")}
    assert found == {"app": "new:app", "workers": 4, "backlog": 12, "grace": 7}


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("-c", "conf/prod.py"), {"prod": "workers = 5\n"}),
        (("--config=file:conf/prod.py",), {"prod": "workers = 5\n"}),
        (("-c", "python:conf.prod"), {"prod": "workers = 5\n"}),
    ],
)
def test_the_file_is_named_in_each_of_gunicorns_ways(
    migrated: Migrate, tmp_path: Path, words: tuple[str, ...], files: dict[str, str]
) -> None:
    """A path, `file:` and a path, `python:` and a module."""
    (tmp_path / "conf").mkdir()
    for name, text in files.items():
        (tmp_path / "conf" / f"{name}.py").write_text(text)

    assert migrated("gunicorn", "shop:app", *words).settings["workers"] == 5


def test_the_variables_of_gunicorns_defaults_count(migrated: Migrate) -> None:
    """PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS; the comments say where a value comes from."""
    result = migrated("gunicorn", "shop:app", PORT="5000", WEB_CONCURRENCY="3", FORWARDED_ALLOW_IPS="*")

    assert result.settings["bind"] == "0.0.0.0:5000"
    assert result.settings["trusted_proxies"] == 1
    assert "workers = 3  # computed: WEB_CONCURRENCY" in result.text


@pytest.mark.parametrize(
    ("given", "bind"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        (":9000", "0.0.0.0:9000"),
        ("localhost", "localhost:8000"),
        ("[::1]:9000", "[::1]:9000"),
        ("[::1]", "[::1]:8000"),
        ("tcp://127.0.0.1:9000", "127.0.0.1:9000"),
        ("unix:/run/shop.sock", "unix:/run/shop.sock"),
        ("unix:///run/shop.sock", "unix:/run/shop.sock"),
        ("127.0.0.1:1,127.0.0.1:2", ["127.0.0.1:1", "127.0.0.1:2"]),
        ("fd://3", None),
    ],
)
def test_addresses(migrated: Migrate, given: str, bind: str | list[str] | None) -> None:
    """Each form of gunicorn's becomes flaskd's, which has been read by flaskd's own rules."""
    result = migrated("gunicorn", "shop:app", "--bind", given)

    assert result.settings.get("bind") == bind
    assert ("passes" in result.said("bind")) == (bind is None)
    assert ("umask" in result.said("bind")) == given.startswith("unix:")


def test_formulas_are_computed_here_and_say_so(migrated: Migrate) -> None:
    """The number is this machine's; the line is the one to look at."""
    files = {CONF: "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\nthreads = 2\n"}

    result = migrated("gunicorn", "shop:app", files=files)

    cores = os.cpu_count() or 1
    assert f"workers = {cores * 2 + 1}  # computed: gunicorn.conf.py, line 2" in result.text
    assert "threads = 2\n" in result.text


@pytest.mark.parametrize(
    ("given", "settings", "said"),
    [
        (("--timeout", "90"), {"threads": 1, "worker_timeout": 90}, ""),
        (("--timeout", "0"), {"threads": 1}, ""),
        (("--timeout", "90", "--threads", "8"), {"threads": 8}, "# worker_timeout = 90"),
        (("--timeout", "90", "-k", "gthread"), {"threads": 1}, "# worker_timeout = 90"),
        (("--threads", "8"), {"threads": 8}, ""),
    ],
)
def test_a_timeout_limits_requests_only_where_gunicorns_does(
    migrated: Migrate, given: tuple[str, ...], settings: dict[str, int], said: str
) -> None:
    """That is for the sync worker; elsewhere the limit would cut requests that gunicorn lets run."""
    result = migrated("gunicorn", "shop:app", *given)

    assert {"worker_timeout": None, **result.settings} == {
        "worker_timeout": None,
        **result.settings,
        **settings,
    }
    assert said in result.text


@pytest.mark.parametrize("worker", ["gevent", "eventlet", "gunicorn.workers.ggevent.GeventWorker"])
def test_greenlets_become_threads(migrated: Migrate, worker: str) -> None:
    """As many as are reasonable, with what has to go."""
    result = migrated("gunicorn", "shop:app", "-k", worker, "--worker-connections", "500")

    assert result.settings["threads"] == 64
    assert "500 requests on one thread" in result.said("worker_class")
    assert "monkey.patch_all()" in result.said("worker_class")


@pytest.mark.parametrize(
    "worker", ["uvicorn.workers.UvicornWorker", "uvicorn_worker.UvicornH11Worker", "asgi"]
)
def test_asgi_is_refused(migrated: Migrate, worker: str) -> None:
    """An application that flaskd cannot serve gets no configuration."""
    with pytest.raises(
        FlaskdError, match="serves ASGI applications, and flaskd serves WSGI applications only"
    ):
        migrated("gunicorn", "shop:app", "-k", worker)


def test_limits_and_logs(migrated: Migrate) -> None:
    """Numbers that flaskd has, too."""
    files = {
        CONF: """
max_requests = 1000
max_requests_jitter = 50
keepalive = 75
limit_request_line = 0
accesslog = "/var/log/shop/access.log"
errorlog = "/var/log/shop/error.log"
loglevel = "WARNING"
access_log_format = '{"time": "%(t)s"}'
proc_name = "shop"
certfile = "cert.pem"
keyfile = "key.pem"
"""
    }

    settings = migrated("gunicorn", "shop:app", files=files).settings

    assert settings["max_requests"] == 1000
    assert settings["max_requests_jitter"] == 50
    assert settings["head_timeout"] == 75
    assert settings["max_request_header_size"] == 1_048_576
    assert (settings["access_log"], settings["access_log_file"]) == ("json", "/var/log/shop/access.log")
    assert (settings["log_file"], settings["log_level"]) == ("/var/log/shop/error.log", "warning")
    assert settings["name"] == "shop"
    assert (settings["tls_cert"], settings["tls_key"]) == ("cert.pem", "key.pem")


def test_a_short_keepalive_does_not_cut_slow_heads(migrated: Migrate) -> None:
    """`head_timeout` is for both, and longer by default."""
    assert "head_timeout" not in migrated("gunicorn", "shop:app", "--keep-alive", "5").settings


def test_trust_in_proxies_is_only_taken_over_where_it_was_declared(migrated: Migrate) -> None:
    """By default gunicorn trusts this host's: that is suggested, not done."""
    declared = migrated("gunicorn", "shop:app", "--forwarded-allow-ips", "10.0.0.1")
    local = migrated("gunicorn", "shop:app")
    public = migrated("gunicorn", "shop:app", "-b", "0.0.0.0:80")

    assert declared.settings["trusted_proxies"] == 1
    assert "overwrite these headers" in declared.said("forwarded_allow_ips")
    assert "# trusted_proxies = 1" in local.text
    assert "trusted_proxies" not in public.text


def test_user_and_group(migrated: Migrate) -> None:
    """A user with its own group by name, another group by numbers, an unknown one not at all."""
    me = pwd.getpwuid(os.getuid())
    other = next(each for each in pwd.getpwall() if each.pw_gid not in {me.pw_gid, 0})

    def worker_user(*words: str) -> object:
        return migrated("gunicorn", "shop:app", *words).settings.get("worker_user")

    assert worker_user("-u", me.pw_name) == me.pw_name
    assert worker_user("-u", me.pw_name, "-g", str(other.pw_gid)) == f"{me.pw_uid}:{other.pw_gid}"
    assert worker_user("-u", "nobody-of-that-name") is None
    assert "nobody-of-that-name" in migrated("gunicorn", "shop:app", "-u", "nobody-of-that-name").said("user")


def test_values_of_variables_are_never_printed(migrated: Migrate) -> None:
    """They may be secrets; the names are what somebody needs."""
    result = migrated(
        "gunicorn", "shop:app", "-e", "DATABASE_URL=postgres://shop:geheim@db", "--env", "DEBUG=0"
    )

    assert "set DATABASE_URL, DEBUG where flaskd is started" in result.said("raw_env")
    assert "geheim" not in result.text + "".join(result.lines)


def test_hooks_are_found_by_name_with_their_line(migrated: Migrate) -> None:
    """Functions and whatever else can be called, in branches, too; helpers are no hooks."""
    files = {
        CONF: """
import logging

def helper():
    pass

def post_fork(server, worker):
    helper()

if True:
    def worker_exit(server, worker):
        pass
when_ready = lambda server: None
"""
    }

    result = migrated("gunicorn", "shop:app", files=files)

    assert "(gunicorn.conf.py, line 7)" in result.said("post_fork")
    assert "`post_load`" in result.said("post_fork")
    assert "`pre_stop`" in result.said("worker_exit")
    assert "(gunicorn.conf.py, line 13)" in result.said("when_ready")
    assert not result.said("helper")


def test_what_has_no_equivalent_is_said(migrated: Migrate) -> None:
    """Each setting once, with what to use in its place; a value that is the default is no news."""
    files = {
        CONF: """
import ssl
statsd_host = "localhost:8125"
logconfig_dict = {"version": 1}
cert_reqs = ssl.CERT_REQUIRED
pidfile = "/run/shop.pid"
daemon = False
worker_tmp_dir = "/dev/shm"
"""
    }

    result = migrated("gunicorn", "shop:app", files=files)

    assert result.said("statsd_host").startswith(
        "no equivalent: statsd_host (gunicorn.conf.py, line 3): Prometheus"
    )
    assert "`logging`" in result.said("logconfig_dict")
    assert "does not ask clients for certificates" in result.said("cert_reqs")
    assert result.said("pidfile").startswith("not needed:")
    assert result.said("worker_tmp_dir").startswith("not needed:")
    assert not result.said("daemon")


def test_values_that_flaskd_refuses_are_not_taken_over(migrated: Migrate) -> None:
    """The file that is printed is one that loads."""
    result = migrated("gunicorn", "shop:app", "-w", "1000", "--name", "my shop")

    assert {"workers", "name"}.isdisjoint(result.settings)
    assert "not taken over: workers cannot be" in result.said("workers")
    assert "cannot name an instance" in result.said("proc_name")


def test_an_application_that_is_not_named_is_asked_for(migrated: Migrate) -> None:
    """gunicorn's `shop` is `shop:application`."""
    assert migrated("gunicorn").lines[-1].startswith("the application is not named")
    assert migrated("gunicorn", "pkg.wsgi").settings["app"] == "pkg.wsgi:application"
    assert migrated("gunicorn", "shop:create_app('x')").settings["app"] == "shop:create_app('x')"


def test_settings_that_do_not_go_together_are_reported(migrated: Migrate, tmp_path: Path) -> None:
    """As `flaskd run` would say it."""
    from flaskd.migrate import migrate

    done = migrate("gunicorn", ["shop:app", "--certfile", "cert.pem"], environ={}, directory=str(tmp_path))

    assert "flaskd run would refuse this: --tls-cert needs --tls-key" in done.lines[-1]


def test_odd_values_are_no_traceback(migrated: Migrate) -> None:
    """What JSON and TOML cannot hold."""
    files = {
        CONF: "logconfig_dict = {(1, 2): 3}\naccess_log_format = object()\nmax_requests = 5\nwsgi_app = 5\n"
    }

    result = migrated("gunicorn", "--error-logfile", "\udcff.log", files=files)

    assert "UTF-8" in result.said("errorlog")
    assert result.settings["max_requests"] == 5
    assert result.settings["app"] == "5:application"


def test_a_file_in_another_encoding(migrated: Migrate, tmp_path: Path) -> None:
    """Python's rules for sources hold."""
    (tmp_path / CONF).write_bytes("# coding: latin-1\n# caf\u00e9\nworkers = 2 + 1\n".encode("latin-1"))

    assert "workers = 3  # computed: gunicorn.conf.py, line 3" in migrated("gunicorn", "shop:app").text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--wrkers", "3"), r"gunicorn has no option --wrkers\. Did you mean --workers\?"),
        (("--workers",), "expected one argument"),
        (("--workers", "many"), "--workers: workers cannot be 'many': expected a whole number"),
        (("shop:app", "blog:app"), "name one application"),
    ],
)
def test_arguments_that_gunicorn_would_refuse(
    migrated: Migrate, words: tuple[str, ...], message: str
) -> None:
    """Are a wrong command line here, too."""
    with pytest.raises(click.UsageError, match=message):
        migrated("gunicorn", *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers = int(None)\n", r"cannot run gunicorn\.conf\.py: TypeError: .*line 1"),
        ("workers = \n", r"cannot run gunicorn\.conf\.py: SyntaxError: .*line 1"),
        ("import os\nos.environ['NOT_THERE']\n", r"KeyError: 'NOT_THERE' .*line 2"),
        ("import sys\nsys.exit('no')\n", "SystemExit: no"),
        (
            "bind = 8000\n",
            r"gunicorn\.conf\.py, line 1: bind cannot be 8000: expected a text, or a list of them",
        ),
        ("workers = 2.5\n", r"workers cannot be 2\.5: expected a whole number"),
        ("import os\nos._exit(3)\n", r"it ended the process \(status 3\)"),
        (
            "workers = 'many'\n",
            r"gunicorn\.conf\.py, line 1: workers cannot be 'many': expected a whole number",
        ),
    ],
)
def test_a_file_that_fails_is_a_sentence(migrated: Migrate, text: str, message: str) -> None:
    """With the place; never a traceback of ours."""
    with pytest.raises(ConfigError, match=message):
        migrated("gunicorn", "shop:app", files={CONF: text})


def test_a_file_that_is_missing_or_never_ends(tmp_path: Path) -> None:
    """Nobody waits for ever."""
    (tmp_path / CONF).write_text("import threading\nthreading.Event().wait()\n")

    with pytest.raises(ConfigError, match=r"there is no gunicorn configuration file no\.py"):
        config_file.read("no.py", str(tmp_path))
    with pytest.raises(ConfigError, match=r"did not end within 0\.5 s"):
        config_file.read(CONF, str(tmp_path), limit=0.5)


def test_the_file_is_run_as_gunicorn_runs_it(
    migrated: Migrate, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In its directory, with the modules beside it, in a process of its own; what it prints does not get into the TOML."""
    (tmp_path / "json.py").write_text("raise RuntimeError('this is not for flaskd')\n")
    (tmp_path / "deploy.py").write_text("WORKERS = 6\n")
    files = {
        CONF: "import os, deploy\nworkers = deploy.WORKERS\nproc_name = os.path.basename(os.getcwd())\nprint('hello')\n"
    }

    result = migrated("gunicorn", "shop:app", files=files)

    assert result.settings["workers"] == 6
    assert result.settings["name"] == tmp_path.name
    assert "hello" not in result.text
    assert capfd.readouterr().err == "hello\n"


def test_places_are_the_last_lines_that_count() -> None:
    """In branches, too, but not in functions."""
    source = "a = 1\nif a:\n    a = f()\ntry:\n    b: int = 2\nexcept E:\n    c = 3\ndef g():\n    d = 4\n"

    assert places(source) == {"a": (3, True), "b": (5, False), "c": (7, False), "g": (8, False)}
