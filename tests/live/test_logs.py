"""The log of a real daemon: who wrote each line, for which request, where it goes, and who may read it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd import Server
from flaskd_ctl import Client
from flaskd_ctl.errors import Failed, WrongState
from flaskd_ctl.protocol import LogLine, LostEvent
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import client, ctl

pytestmark = pytest.mark.live

PROJECT = Path(__file__).parents[2]

APP = """
import logging, sys
from flask import Flask, request

app = Flask(__name__)
log = logging.getLogger("shop.cart")

@app.get("/log")
def write():
    log.warning("message %s", request.args.get("text", ""))
    log.debug("details")
    return "ok"

@app.get("/print")
def prints():
    print(request.args["text"], file=sys.stderr if "err" in request.args else sys.stdout)
    return "ok"

@app.get("/fail")
def fail():
    raise RuntimeError("no stock")
"""

CONFIGURED = (
    APP
    + """
import logging.config
logging.config.dictConfig({
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"own": {"format": "OWN %(levelname)s %(message)s"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"handlers": ["own"], "level": "INFO"},
})
"""
)

ENGINES = ["granian", "waitress", "werkzeug"]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "logged.py").write_text(APP)
    return tmp_path


def get(daemon_url: str, path: str, request_id: str = "") -> int:
    asked = urllib.request.Request(
        daemon_url + path, headers={"X-Request-ID": request_id} if request_id else {}
    )
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def until(daemon: Daemon, wanted: str, **choice: str) -> list[LogLine]:
    """Follow the log until a line has `wanted` in its message; return the lines so far."""
    found: list[LogLine] = []
    timer = threading.Timer(PATIENCE, daemon.end)
    timer.start()
    try:
        with client(daemon) as running:
            for line in running.follow_logs(
                limit=1000, level=choice.get("level"), request=choice.get("request")
            ):
                assert isinstance(line, LogLine)
                found.append(line)
                if wanted in line.message:
                    return found
    finally:
        timer.cancel()
    raise AssertionError(f"{wanted!r} is not in {found}")


def until_file_has(path: Path, text: str = "") -> None:
    """Wait until a file is there and has `text`; nothing tells a test of that."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, f"{text!r} is not in {path}"
        time.sleep(0.01)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_says_who_wrote_it_and_for_which_request(
    start_daemon: StartDaemon, app: Path, engine: str
) -> None:
    """On stderr and in `logs` alike: a record, its traceback, and what was printed."""
    daemon = start_daemon("logged:app", "--engine", engine, cwd=app)
    until(daemon, "serving logged:app")
    get(daemon.url, "/log?text=a", "req-1")
    assert get(daemon.url, "/fail", "req-2") == 500
    until(daemon, "RuntimeError: no stock")  # what is printed takes another way, and may be faster
    get(daemon.url, "/print?text=hello")

    lines = until(daemon, "hello")

    (logged,) = [line for line in lines if line.logger == "shop.cart"]
    (failed,) = [line for line in lines if "RuntimeError: no stock" in line.message]
    (printed,) = [line for line in lines if line.message == "hello"]
    assert (logged.level, logged.worker, logged.request_id, logged.message) == (
        "warning",
        1,
        "req-1",
        "message a",
    )
    assert (failed.level, failed.worker, failed.request_id) == ("error", 1, "req-2")
    assert (printed.level, printed.worker, printed.stream) == (None, 1, "stdout")
    assert any(line.worker is None and "serving logged:app" in line.message for line in lines)
    shown = ctl(daemon.name, "logs", "--level", "warning").stdout
    assert re.search(r"^\S+ warning  \[1 req-1\] shop\.cart: message a$", shown, re.MULTILINE)
    assert re.search(r"^  \| RuntimeError: no stock$", shown, re.MULTILINE)
    assert "hello" not in shown
    assert re.search(r"^\S+ warning  \[1 req-1\] shop\.cart: message a$", daemon.output(), re.MULTILINE)


def test_nothing_from_a_client_looks_like_a_line_of_its_own(start_daemon: StartDaemon, app: Path) -> None:
    """Neither in a record nor in a print, whatever the client sends."""
    forged = "%0A2026-01-01T00:00:00.000%2B00:00%20error%20%20%20%20[2%20x]%20bank:%20robbed"
    daemon = start_daemon("logged:app", cwd=app)
    get(daemon.url, f"/log?text={forged}")
    get(daemon.url, f"/print?text={forged}")

    until(daemon, "bank: robbed")

    for line in daemon.output().splitlines():
        if "robbed" in line:
            assert re.match(r"  \| |\S+ stdout   \[1\] ", line)


def test_an_application_that_configures_logging_keeps_its_format(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """What it writes to stderr is a printed line: with time and worker, and without a level."""
    (tmp_path / "configured.py").write_text(CONFIGURED)
    daemon = start_daemon("configured:app", cwd=tmp_path)
    get(daemon.url, "/log?text=a")

    lines = until(daemon, "OWN WARNING message a")

    assert (lines[-1].level, lines[-1].stream, lines[-1].worker) == (None, "stderr", 1)


def test_json_lines_and_levels(start_daemon: StartDaemon, app: Path) -> None:
    """Each line is an object; a level below the setting's is not logged."""
    daemon = start_daemon("logged:app", "--log-format", "json", "--log-level", "debug", cwd=app)
    get(daemon.url, "/log?text=a%0Ab", "req-1")
    until(daemon, "details")

    objects = [json.loads(line) for line in daemon.output().splitlines()]

    (logged,) = [each for each in objects if each["message"] == "message a\nb"]
    assert (logged["level"], logged["worker"], logged["request_id"]) == ("warning", 1, "req-1")
    assert any(each["level"] == "debug" and each["logger"] == "shop.cart" for each in objects)
    assert any(each["worker"] is None for each in objects)


def test_a_level_can_be_set_by_a_reload(start_daemon: StartDaemon, app: Path) -> None:
    """New workers log from then on what the file says."""
    (app / "flaskd.toml").write_text('log_level = "error"\n')
    daemon = start_daemon("logged:app", cwd=app)
    get(daemon.url, "/log?text=quiet")
    (app / "flaskd.toml").write_text('log_level = "debug"\n')
    with client(daemon) as running:
        running.reload()
    get(daemon.url, "/log?text=loud")

    messages = [line.message for line in until(daemon, "message loud")]

    assert "message quiet" not in messages


def test_logs_need_the_role_of_an_operator() -> None:
    """They may quote bodies and tracebacks."""
    from flaskd_ctl.contract.commands import COMMANDS, Role

    assert COMMANDS["logs"].role is COMMANDS["reopen_logs"].role is Role.OPERATOR


@pytest.fixture
def load(app: Path, start_daemon: StartDaemon) -> Iterator[tuple[Daemon, list[int], threading.Event]]:
    """A daemon with a log file, whose workers log numbers 0, 1, 2, …, each once, until they are told to stop."""
    daemon = start_daemon("logged:app", "--workers", "2", "--log-file", "logs/shop.log", cwd=app)
    sent: list[int] = []
    enough, lock = threading.Event(), threading.Lock()

    def send() -> None:
        while not enough.is_set():
            with lock:
                number = len(sent)
                sent.append(number)
            assert get(daemon.url, f"/log?text=n{number}") == 200

    clients = [threading.Thread(target=send) for _ in range(4)]
    for each in clients:
        each.start()
    yield daemon, sent, enough
    enough.set()
    for each in clients:
        each.join(PATIENCE)


@pytest.fixture(autouse=True)
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


def test_rotations_under_load_lose_no_line(
    load: tuple[Daemon, list[int], threading.Event], logs: Path
) -> None:
    """Renamed and opened again, by the command and by the signal in turn: each number is in one file, once."""
    daemon, sent, enough = load
    path = logs / "shop.log"
    for turn in range(6):
        before = len(sent)
        while len(sent) < before + 20:
            assert not enough.wait(0.01)
        path.rename(logs / f"shop.log.{turn}")
        if turn % 2:
            os.kill(daemon.pid, signal.SIGUSR1)
            until_file_has(path)
        else:
            assert ctl(daemon.name, "logs", "--reopen").stdout == f"opened {path}\n"
        assert path.exists()
    enough.set()
    shown = ctl(daemon.name, "shutdown")
    assert shown.returncode == 0, shown.stderr

    text = "".join(each.read_text() for each in logs.iterdir())
    numbers = [int(number) for number in re.findall(r"message n(\d+)$", text, re.MULTILINE)]
    assert len(list(logs.iterdir())) == 7
    assert sorted(numbers) == list(range(len(sent)))
    assert "shop.cart" not in daemon.output()
    assert "serving logged:app" in text


def test_a_file_that_cannot_be_opened_again_is_told_and_kept(
    start_daemon: StartDaemon, app: Path, logs: Path
) -> None:
    """Serving goes on, and so does the log; by signal the audit line tells it."""
    daemon = start_daemon("logged:app", "--log-file", "logs/shop.log", cwd=app)
    moved = logs.rename(app / "moved")
    with client(daemon) as running:
        with pytest.raises(
            Failed, match=r"cannot open the log file .*/shop.log again: No such file or directory"
        ):
            running.reopen_logs()
        os.kill(daemon.pid, signal.SIGUSR1)
        until(daemon, "reopen_logs asked for by SIGUSR1")
    assert get(daemon.url, "/log?text=after") == 200
    until(daemon, "message after")

    assert "message after" in (moved / "shop.log").read_text()


def test_a_file_that_cannot_be_opened_again_does_not_keep_another_one_closed(
    start_daemon: StartDaemon, app: Path, logs: Path
) -> None:
    """The access log is renamed and opened anew, though the directory of the log is gone."""
    (app / "access").mkdir()
    options = ("--log-file", "logs/shop.log", "--access-log", "common", "--access-log-file", "access/log")
    daemon = start_daemon("logged:app", *options, cwd=app)
    logs.rename(app / "moved")
    (app / "access" / "log").rename(app / "access" / "log.1")
    with (
        client(daemon) as running,
        pytest.raises(Failed, match=r"cannot open the log file .*/shop.log again"),
    ):
        running.reopen_logs()
    assert get(daemon.url, "/log?text=after") == 200
    with client(daemon) as running:
        running.wait("idle", 30)
        running.shutdown()
    assert "GET /log?text=after" in (app / "access" / "log").read_text()


def test_without_a_log_file_there_is_nothing_to_open_again(start_daemon: StartDaemon, app: Path) -> None:
    """The sentence says what to do; the signal is ignored, as ever."""
    daemon = start_daemon("logged:app", cwd=app)

    refused = ctl(daemon.name, "logs", "--reopen")
    os.kill(daemon.pid, signal.SIGUSR1)
    until(daemon, "ignored SIGUSR1")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "shop writes no log file. Start it with --log-file FILE." in refused.stderr


def test_a_log_file_that_cannot_be_written_is_told_at_the_start(app: Path) -> None:
    """Before anything serves."""
    command = [sys.executable, "-m", "flaskd", "run", "logged:app", "--log-file", "/nonexistent/shop.log"]
    ended = subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert ended.returncode == 1
    assert "cannot write the log file /nonexistent/shop.log: No such file or directory" in ended.stderr


def test_a_server_in_a_program_keeps_what_goes_through_logging(runtime_dir: str, app: Path) -> None:
    """With the request; the program's own logging is as it was."""
    import logging

    scope: dict[str, object] = {"__name__": "inside"}
    exec(APP, scope)
    handlers = logging.getLogger().handlers[:]
    with Server(scope["app"], bind="127.0.0.1:0", name="inside") as server, Client("inside") as inside:  # type: ignore[arg-type]
        get(server.listeners[0].rstrip("/"), "/log?text=a", "req-1")

        found = inside.logs(request="req-1")

        assert [(line.worker, line.level, line.message) for line in found.lines] == [
            (0, "warning", "message a")
        ]
        assert logging.getLogger().handlers == handlers
        with pytest.raises(WrongState, match="inside serves in one process, which writes no log file"):
            inside.reopen_logs()


def test_a_follower_that_reads_slowly_is_told_what_it_missed(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A flood of lines neither stops the daemon nor grows it; what is missing is counted exactly."""
    (tmp_path / "flood.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\n"
        "@app.get('/flood')\ndef flood():\n    for n in range(60_000): print(n)\n    return 'ok'\n"
    )
    daemon = start_daemon("flood:app", cwd=tmp_path)
    with client(daemon) as running:
        stream = running.follow_logs()
        next(stream)  # it has begun, and now it does not read
        assert get(daemon.url, "/flood") == 200
        assert running.ping().state == "running"
        got, lost = 0, 0
        for each in stream:
            if isinstance(each, LostEvent):
                lost += each.count
            elif each.message.isdecimal():
                got += 1
                if each.message == "59999":
                    break

    assert lost > 0
    assert got + lost == 60_000


@requires("logrotate", "root")
def test_the_configuration_of_logrotate_in_the_docs_rotates_without_losing_a_line(
    start_daemon: StartDaemon, app: Path, logs: Path
) -> None:
    """As it is in docs/deploy, with this instance's paths: the command that it runs opens the files again."""
    deployed = PROJECT / "docs" / "deploy" / "logrotate"
    assert deployed.read_text() in (PROJECT / "docs" / "logs.md").read_text()
    options = ["--log-file", "logs/shop.log", "--access-log", "json", "--access-log-file", "logs/access.log"]
    daemon = start_daemon("logged:app", *options, cwd=app)
    config = deployed.read_text()
    for there, here in {
        "/var/log/shop": str(logs),
        "/srv/shop/.venv/bin/flaskd_ctl": f"{sys.executable} -m flaskd_ctl",
        "create 0640 shop adm": "create 0640",
        "    compress\n    delaycompress\n": "",
    }.items():
        assert there in config
        config = config.replace(there, here)
    (app / "logrotate.conf").write_text(config)
    os.chmod(app / "logrotate.conf", 0o644)
    os.chmod(logs, 0o755)

    for turn in range(3):
        get(daemon.url, f"/log?text=turn{turn}")
        for name in ("shop.log", "access.log"):
            until_file_has(logs / name, f"turn{turn}")
        subprocess.run(
            ["logrotate", "--force", "--state", app / "state", app / "logrotate.conf"],
            check=True,
            timeout=PATIENCE,
        )
    get(daemon.url, "/log?text=turn3")
    assert ctl(daemon.name, "shutdown").returncode == 0

    for name, pattern in {"shop.log": r"message turn(\d)", "access.log": r"text=turn(\d)"}.items():
        files = [*(logs / f"{name}.{turn}" for turn in (3, 2, 1)), logs / name]
        found = [re.findall(pattern, file.read_text()) for file in files]
        assert found == [["0"], ["1"], ["2"], ["3"]], name


@pytest.mark.parametrize("engine", ENGINES)
def test_the_log_is_shown_while_a_worker_is_stopped_and_after_it_was_killed(
    start_daemon: StartDaemon, app: Path, engine: str
) -> None:
    """The supervisor answers; what the worker had logged is kept."""
    daemon = start_daemon("logged:app", "--engine", engine, cwd=app)
    get(daemon.url, "/log?text=before")
    until(daemon, "message before")
    with client(daemon) as running:
        (worker,) = running.workers()
        os.kill(worker.pid, signal.SIGSTOP)

        stopped = running.logs(worker=1, level="warning")

        os.kill(worker.pid, signal.SIGKILL)
        lines = until(daemon, "killed by SIGKILL")
    assert [line.message for line in stopped.lines] == ["message before"]
    assert [line.message for line in lines if line.worker == 1 and line.level] == ["message before"]


def test_records_are_whole_however_many_threads_and_processes_log(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Long tracebacks from sixteen threads at once, in each of two workers: none is torn or mixed with another."""
    (tmp_path / "busy.py").write_text(
        "import logging, threading\nfrom flask import Flask\napp = Flask(__name__)\n"
        "def write(n):\n    for turn in range(40):\n"
        "        logging.error('%s', '\\n'.join(f'{n}-{turn}-{line}' for line in range(400)))\n"
        "@app.get('/')\ndef index():\n    many = [threading.Thread(target=write, args=(n,)) for n in range(16)]\n"
        "    [one.start() for one in many]\n    [one.join() for one in many]\n    return 'ok'\n"
    )
    daemon = start_daemon("busy:app", "--workers", "2", "--log-file", "logs/busy.log", cwd=tmp_path)
    clients = [threading.Thread(target=get, args=(daemon.url, "/")) for _ in range(2)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(PATIENCE)
    assert ctl(daemon.name, "shutdown").returncode == 0

    lines = [line for line in (tmp_path / "logs" / "busy.log").read_text().splitlines() if "-" in line[-12:]]
    records = [line for line in lines if " error " in line]
    assert len(records) == 2 * 16 * 40
    for start, line in enumerate(lines):
        if " error " in line:
            key = line.rpartition(" ")[2].removesuffix("-0")
            following = lines[start + 1 : start + 400]
            assert following == [f"  | {key}-{number}" for number in range(1, 400)]


@requires("prlimit")
def test_a_full_disk_keeps_nobody_from_being_served(start_daemon: StartDaemon, app: Path, logs: Path) -> None:
    """It is said once, and again when the file can be written; `logs` has the lines that the file has not."""
    daemon = start_daemon("logged:app", "--log-file", "logs/shop.log", cwd=app)
    until_file_has(logs / "shop.log", "  stop   ")  # its first lines would be lost, too
    limit = ["prlimit", "--pid", str(daemon.pid)]
    subprocess.run([*limit, "--fsize=3000:unlimited"], check=True, timeout=PATIENCE)
    for number in range(60):
        assert get(daemon.url, f"/log?text=n{number}") == 200
    lines = until(daemon, "message n59")
    subprocess.run([*limit, "--fsize=unlimited:unlimited"], check=True, timeout=PATIENCE)
    get(daemon.url, "/log?text=again")
    until_file_has(logs / "shop.log", "message again")
    until(daemon, "is written again")
    until_file_has(daemon.log, "is written again")

    file, told = (logs / "shop.log").read_text(), daemon.output()
    written = [int(number) for number in re.findall(r"message n(\d+)$", file, re.MULTILINE)]
    kept = [line.message for line in lines if line.logger == "shop.cart"]
    assert kept == [f"message n{number}" for number in range(60)]
    assert 0 < len(written) < 60
    assert told.count("cannot write the log file") == 1
    assert f"is written again; lines lost: {60 - len(written)}" in told
