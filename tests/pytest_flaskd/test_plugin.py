"""The pytest plugin, in runs of pytest: what the fixtures give, how long it lives, and that it costs others nothing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.live

APP: Final = """
import os, threading
import flask

def create_app(word="hello"):
    app = flask.Flask("shop")
    app.gate = threading.Event()
    @app.get("/")
    def front():
        return f"{word} from {os.getpid()}"
    @app.get("/held")
    def held():
        app.gate.wait(20)
        return "let go"
    return app
app = create_app()
"""

HELPERS: Final = """
import os, threading, time, urllib.request
import pytest
import shop
from flaskd_ctl import Client

def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make a project with an application; its runs of pytest have our warnings, and no plugin but theirs."""
    pytester.makepyfile(shop=APP)
    pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings =\n    error\naddopts = -p no:dash\n")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return pytester


def run(project: pytest.Pytester, *words: str) -> pytest.RunResult:
    return project.runpytest_subprocess(*words, timeout=PATIENCE + 60)


def test_a_server_serves_an_application_in_the_process_of_the_test(project: pytest.Pytester) -> None:
    """Given as such, by a factory, or by the fixture `app`; it can be asked, and it stops."""
    project.makepyfile(
        HELPERS
        + """
SEEN = []

@pytest.fixture
def app():
    return shop.create_app("fixture")

@pytest.mark.parametrize(
    ("given", "word"),
    [((shop.app,), "hello"), ((shop.create_app,), "hello"), ((lambda: shop.create_app("made"),), "made"), ((), "fixture")],
)
def test_serves(flaskd_server, given, word):
    server = flaskd_server(*given, threads=2)
    SEEN.append(server)
    assert get(server.url + "/") == f"{word} from {os.getpid()}"
    assert server.client.status().threads == 2

def test_several(flaskd_server):
    one, two = flaskd_server(shop.app), flaskd_server(shop.app)
    SEEN.extend([one, two])
    assert one.url != two.url and one.name != two.name

def test_in_flight(flaskd_server):
    app = shop.create_app()
    server = flaskd_server(app)
    asking = threading.Thread(target=get, args=[server.url + "/held"])
    asking.start()
    while not (found := server.requests().requests):
        time.sleep(0.01)
    assert [each.path for each in found] == ["/held"]
    app.gate.set()
    asking.join()

def test_wsgi(flaskd_server):
    def plain(environ, start_response):
        start_response("200 OK", [("Content-Length", "5")])
        return [b"plain"]
    assert get(flaskd_server(plain).url) == "plain"

def test_stopped(flaskd_server):
    assert len(SEEN) == 6
    for server in SEEN:
        with pytest.raises(OSError):
            get(server.url)
"""
    )
    run(project).assert_outcomes(passed=8)


def test_a_daemon_is_a_process_of_its_own(project: pytest.Pytester) -> None:
    """Found in the root directory, with options and environment; stopped after the test."""
    project.makepyfile(
        HELPERS
        + """
PIDS = []

def test_runs(flaskd_daemon):
    daemon = flaskd_daemon("shop:create_app(\\"made\\")", "--workers", "2", environ={"FLASKD_THREADS": "3"})
    PIDS.append(daemon.pid)
    assert get(daemon.url + "/").startswith("made from ")
    assert f"from {os.getpid()}" not in get(daemon.url + "/")
    status = daemon.client.status()
    assert (status.threads, len(status.workers), status.pid) == (3, 2, daemon.pid)
    assert len(daemon.requests().requests) <= 2  # those that have just been answered
    daemon.client.reload()
    assert "serving shop:create_app" in daemon.output
    again = flaskd_daemon("shop.py:app", "--name", "mine", "--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0")
    PIDS.append(again.pid)
    assert again.name == "mine" and len(again.listeners) == 2

def test_ended():
    for pid in PIDS:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
"""
    )
    run(project).assert_outcomes(passed=2)


def test_daemons_share_no_port_and_no_file_that_the_projects_settings_name(project: pytest.Pytester) -> None:
    """Options and variables of the test count."""
    project.makefile(
        ".toml",
        flaskd='health = "127.0.0.1:1"\nagent = "127.0.0.1:1"\nlog_file = "shop.log"\naudit_log = "audit.log"\n'
        'access_log = "common"\naccess_log_file = "access.log"\nthreads = 3\n',
    )
    project.makepyfile(
        HELPERS
        + """
from pathlib import Path

def test_two(flaskd_daemon, tmp_path):
    one = flaskd_daemon("shop:app")
    environ = {"FLASKD_HEALTH": "127.0.0.1:0", "FLASKD_NAME": "theirs"}
    two = flaskd_daemon("shop:app", f"--log-file={tmp_path}/two.log", environ=environ)
    assert get(one.url + "/") and get(two.url + "/")
    assert one.client.status().threads == 3
    assert ([*one.client.status().probes], [*two.client.status().probes]) == ([], ["health"])
    one.close()
    two.close()
    assert "serving shop:app" in one.output and "serving shop:app" in (tmp_path / "two.log").read_text()
    assert not list(Path.cwd().glob("*.log"))
"""
    )
    run(project).assert_outcomes(passed=1)


def test_a_daemon_that_does_not_serve_is_told_with_its_output(project: pytest.Pytester) -> None:
    """At once if it ends, else after the timeout; nothing stays behind."""
    project.makepyfile(bad="1 / 0\n", slow="import time\ntime.sleep(60)\n")
    project.makepyfile(
        """
def test_bad(flaskd_daemon):
    flaskd_daemon("bad:app")

def test_slow(flaskd_daemon):
    flaskd_daemon("slow:app", timeout=0.5)
"""
    )
    result = run(project)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*NotServing: flaskd run bad-1: it ended with exit code 1. Its output:",
            "*cannot load bad:app: ZeroDivisionError*",
            "*NotServing: flaskd run slow-1: it does not serve after 0.5 s. Its output:*",
        ]
    )


def test_what_a_daemon_wrote_is_shown_with_a_test_that_fails(project: pytest.Pytester) -> None:
    """Its log is where the cause is."""
    project.makepyfile("def test_it(flaskd_daemon):\n    assert not flaskd_daemon('shop:app').url\n")
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["--- flaskd run, shop-1, exit code 0:", "*serving shop:app as 'shop-1'*"])


def test_a_server_may_live_for_a_module_or_for_the_session(project: pytest.Pytester) -> None:
    """By a fixture of the project's own, as such a server is made once."""
    project.makeconftest(
        """
import pytest, shop

@pytest.fixture(scope="session")
def site(flaskd_server_session):
    return flaskd_server_session(shop.app)

@pytest.fixture(scope="module")
def page(flaskd_server_module):
    return flaskd_server_module(shop.app)

@pytest.fixture(scope="module")
def process(flaskd_daemon_module):
    return flaskd_daemon_module("shop:app")

@pytest.fixture(scope="session")
def only(flaskd_daemon_session):
    return flaskd_daemon_session("shop:app")
"""
    )
    test = """
import pytest
URLS = {}
@pytest.mark.parametrize("name", ["site", "page", "process", "only"] * 2)
def test_same(name, request):
    server = request.getfixturevalue(name)
    assert URLS.setdefault(name, server.url) == server.url
    assert server.client.ping().state == "running"
    with open("seen", "a") as seen:
        seen.write(f"{name} {server.url}\\n")
"""
    project.makepyfile(test_one=test, test_two=test)
    run(project).assert_outcomes(passed=16)
    seen = {tuple(line.split()) for line in (project.path / "seen").read_text().splitlines()}
    count = {name: sum(each == name for each, _ in seen) for name in ("site", "page", "process", "only")}
    assert count == {"site": 1, "page": 2, "process": 2, "only": 1}


def test_processes_of_xdist_do_not_collide(project: pytest.Pytester) -> None:
    """Nor do they with what the developer runs, though all have the same name."""
    project.makepyfile(
        HELPERS
        + """
@pytest.mark.parametrize("number", range(8))
def test_it(number, flaskd_server, flaskd_daemon_session, tmp_path_factory):
    server = flaskd_server(shop.app, name="shop")
    assert get(server.url).endswith(f"from {os.getpid()}")
    assert server.client.status().name == "shop"

def test_daemon(flaskd_daemon):
    assert flaskd_daemon("shop:app", "--name", "shop").client.ping().name == "shop"
"""
    )
    run(project, "-n", "2").assert_outcomes(passed=9)


def test_nothing_is_left_of_an_instance(project: pytest.Pytester, runtime_dir: str) -> None:
    """Neither where the developer's own are, nor a note that hides theirs."""
    project.makepyfile(
        HELPERS
        + """
def test_it(flaskd_server, flaskd_daemon):
    flaskd_server(shop.app, name="shop")
    flaskd_daemon("shop:app", "--name", "other")
"""
    )
    run(project).assert_outcomes(passed=1)
    assert os.listdir(runtime_dir) == []
    assert not os.path.exists(os.environ["XDG_STATE_HOME"])


def test_a_run_that_uses_no_fixture_imports_nothing_of_flaskd(tmp_path: Path) -> None:
    """Though the plugin is there: it must cost other projects nothing, and not come before a measurement of coverage."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert 'pytest_flaskd.plugin' in sys.modules\n"
        "    ours = [name for name in sys.modules if name.split('.')[0] in {'flaskd', 'flaskd_ctl', 'flask', 'werkzeug'}]\n"
        "    assert ours == []\n"
    )
    ended = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:dash",
            "-p",
            "no:xdist",
            "test_it.py",
        ],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=PATIENCE + 60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    imported = {
        line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if "import time:" in line
    }
    assert "_pytest.fixtures" in imported
    assert not {name for name in imported if name.split(".")[0] in {"flaskd", "flaskd_ctl", "flask", "zmq"}}


def test_the_fixtures_are_listed_with_what_they_do(project: pytest.Pytester) -> None:
    """`pytest --fixtures` is where people look."""
    result = run(project, "--fixtures")
    result.stdout.fnmatch_lines(
        ["flaskd_server -- *", "*Serve an application in this process: `flaskd_server(app).url`*"]
    )
