"""`--preload` in a real daemon: workers are forked from a template, a child of the supervisor like them."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from flaskd_ctl.errors import Failed
from pytest_flaskd.ready import NotServing
from tests.live.test_hostile_worker import ROOT, can_run
from tests.support.caller import Caller, call
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import Told, Watch, all_gone, children, client, ctl, name_of
from tests.support.stopping import Shutdown

pytestmark = pytest.mark.live

ENGINES: Final = ["waitress", "granian", "werkzeug"]

APP: Final = """
import atexit, gc, os, random, sys, flask
VERSION = {version!r}
LOADED_BY = os.getpid()
STATE = dict()
{more}
app = flask.Flask(__name__)
print("loaded", VERSION, flush=True)
@app.get("/")
def version():
    return VERSION
@app.get("/who")
def who():
    return dict(pid=os.getpid(), parent=os.getppid(), session=os.getsid(0), loaded_by=LOADED_BY, random=random.random(),
        frozen=gc.get_freeze_count(), collects=gc.isenabled(), state=STATE)
@app.get("/print")
def say():
    print("said by", os.getpid())
    print("and on stderr", file=sys.stderr)
    app.logger.warning("and logged")
    return "said"
@app.get("/descriptors")
def descriptors():
    return [os.readlink(f"/proc/self/fd/{{n}}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{{n}}")]
def before_fork(app):
    STATE["before_fork"] = os.getpid()
def after_fork(app):
    STATE["after_fork"] = os.getpid()
"""


@pytest.fixture(autouse=True)
def no_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions of a file within a second would share their byte code."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def write(directory: Path, version: str, more: str = "") -> None:
    (directory / "shop.py").write_text(APP.format(version=version, more=more))


def start(start_daemon: StartDaemon, directory: Path, *args: str, more: str = "") -> Daemon:
    write(directory, "one", more)
    return start_daemon("shop:app", "--preload", *args, cwd=directory)


def who(daemon: Daemon, workers: int = 1) -> dict[int, dict[str, Any]]:
    """Ask until each worker has answered."""
    found: dict[int, dict[str, Any]] = {}
    for _ in range(1000):
        if len(found) == workers:
            return found
        answer: dict[str, Any] = json.loads(call(daemon.url, "/who"))
        found[answer["pid"]] = answer
    raise AssertionError(f"{workers} workers should answer, and only {len(found)} did")


def template(daemon: Daemon) -> Told:
    """Return the only template."""
    (one,) = json.loads(ctl(daemon.name, "status", "--json").stdout)["templates"]
    found: Told = one
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_share_what_the_template_has_loaded_and_each_is_a_child_of_the_supervisor(
    start_daemon: StartDaemon, tmp_path: Path, engine: str
) -> None:
    """What must differ between workers does: session, random numbers, descriptors; what was loaded is frozen."""
    hooks = ["--pre-fork", "shop:before_fork", "--post-load", "shop:after_fork"]
    daemon = start(start_daemon, tmp_path, "--engine", engine, "--workers", "3", *hooks)
    found = who(daemon, 3)
    loaded = template(daemon)

    assert {each["loaded_by"] for each in found.values()} == {loaded["pid"]}
    assert (loaded["state"], loaded["generation"]) == ("ready", 1)
    assert sorted(children(daemon.pid)) == sorted([*found, loaded["pid"]])
    assert {each["parent"] for each in found.values()} == {daemon.pid}
    assert {each["session"] for each in found.values()} == set(found)
    assert len({each["random"] for each in found.values()}) == 3
    assert all(each["collects"] and each["frozen"] > 10_000 for each in found.values())
    assert {each["state"]["before_fork"] for each in found.values()} == {loaded["pid"]}
    assert {each["state"]["after_fork"] for each in found.values()} == set(found)
    assert daemon.output().count("loaded one") == 1
    assert "[template] loaded one\n" in daemon.output()
    assert {name_of(pid) for pid in found} == {"flaskd-worker"}
    assert (name_of(loaded["pid"]), name_of(daemon.pid)) == ("flaskd-template", "flaskd")
    assert ctl(daemon.name, "logs", "--process", "template").stdout.endswith("[template] loaded one\n")

    with client(daemon) as shop:
        page = shop.metrics()
        weighed = sum(worker.rss or 0 for worker in shop.workers())
    told = next(line for line in page.splitlines() if line.startswith('flaskd_memory_bytes{kind="rss"}'))
    assert float(told.split()[1]) > weighed + loaded["rss"] / 2, "the template's memory counts too"

    with all_gone(*found, loaded["pid"]), Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0


def test_each_worker_writes_to_its_own_log_and_has_no_descriptor_of_the_template(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Lines have the id of the worker; those of the import say that the template wrote them."""
    daemon = start(start_daemon, tmp_path)
    assert call(daemon.url, "/print") == "said"
    with client(daemon) as shop:
        (worker,) = shop.workers()
        lines = [(line.worker, line.message) for line in shop.logs(process="worker").lines]
        assert [line.message for line in shop.logs(process="template").lines] == ["loaded one"]
        assert {(1, f"said by {worker.pid}"), (1, "and on stderr"), (1, "and logged")} <= set(lines)
    held = json.loads(call(daemon.url, "/descriptors"))
    assert not [each for each in held if "flaskd-stacks-template" in each]
    assert len([each for each in held if "flaskd-stacks" in each]) == 1


def test_a_crash_a_restart_and_a_scale_take_a_fork_and_no_import(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Not even the file on disk is looked at."""
    daemon = start(start_daemon, tmp_path)
    (tmp_path / "shop.py").write_text("no python")
    loaded = template(daemon)
    with Watch(daemon) as watch, client(daemon) as shop:
        os.kill(shop.workers()[0].pid, signal.SIGKILL)
        assert watch.until_worker("serving")["why"] == "crash: killed by SIGKILL"
        assert shop.restart_worker(2).worker == 3
        assert shop.scale(to=3).workers == 3
    assert {each["loaded_by"] for each in who(daemon, 3).values()} == {loaded["pid"]}


def test_a_reload_is_a_new_template_beside_the_old_one(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """When the reload is done, the old template is gone or about to be; its progress names both."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    old = template(daemon)
    write(tmp_path, "two")
    with all_gone(old["pid"]), Watch(daemon, "reload", progress=True) as watch:
        steps = [(each["state"], each["pid"]) for each in watch.events() if each["event"] == "template"]
    assert [state for state, _ in steps][:2] == ["loading", "ready"]
    assert steps[0][1] != old["pid"]
    assert call(daemon.url, "/") == "two"
    new = template(daemon)
    assert (new["pid"], new["generation"]) == (steps[0][1], 2)
    assert {each["loaded_by"] for each in who(daemon, 2).values()} == {new["pid"]}


@pytest.mark.parametrize("fault", ["raise ValueError('no database')", "os._exit(3)"])
def test_a_reload_that_cannot_load_leaves_the_old_template_and_workers_are_forked_from_it(
    start_daemon: StartDaemon, tmp_path: Path, fault: str
) -> None:
    """The reload fails as without a template, once, with the application's traceback; what was loaded before goes on."""
    daemon = start(start_daemon, tmp_path, "--workers", "2")
    old = template(daemon)
    write(tmp_path, "two", more=fault)
    with client(daemon) as shop:
        with pytest.raises(Failed) as failed:
            shop.reload()
        if "raise" in fault:
            assert "ValueError: no database" in str(failed.value)
            assert "shop.py" in failed.value.data["traceback"]
        else:
            assert "exit code 3" in str(failed.value)
        assert template(daemon)["pid"] == old["pid"]
        (incident,) = shop.incidents()
        assert (incident.kind, incident.pid != old["pid"]) == ("start failed", True)
        assert shop.scale(to=4).workers == 4
        assert {worker.generation for worker in shop.workers()} == {1}
    assert {each["loaded_by"] for each in who(daemon, 4).values()} == {old["pid"]}
    assert call(daemon.url, "/") == "one"


def test_a_reload_whose_workers_fail_their_check_goes_back_to_the_old_template(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """The new template has loaded, and is ended."""
    daemon = start(start_daemon, tmp_path)
    old = template(daemon)
    write(tmp_path, "two")
    done = ctl("shop", "reload", "--check", "/missing")
    assert (done.returncode, "404" in done.stderr) == (1, True)
    with client(daemon) as shop:
        assert shop.restart_worker(1).replaced == 1
    assert call(daemon.url, "/") == "one"
    assert template(daemon)["pid"] == old["pid"]


def test_a_template_that_is_killed_harms_nobody_and_is_loaded_again_when_it_is_needed(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Its workers serve on; it is named in the incidents and in the log."""
    daemon = start(start_daemon, tmp_path)
    old = template(daemon)
    with Watch(daemon) as watch, client(daemon) as shop:
        os.kill(old["pid"], signal.SIGKILL)
        incident = watch.until_incident()
        assert (incident["worker"], incident["pid"]) == (0, old["pid"])
        assert incident["reason"] == "killed by SIGKILL"
        assert "template" in ctl("shop", "incidents", "1").stdout
        assert shop.status().templates == []
        assert set(who(daemon)) == {shop.workers()[0].pid}
        write(tmp_path, "two")
        assert shop.scale(to=2).workers == 2
        assert shop.status().restarts == 0
    assert {each["loaded_by"] for each in who(daemon, 2).values()} == {old["pid"], template(daemon)["pid"]}
    assert f"template (pid {old['pid']}), crash: killed by SIGKILL" in daemon.output()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("raise ValueError('no database')", "cannot load shop:app: ValueError: no database"),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_an_instance_whose_template_cannot_load_does_not_start(
    start_daemon: StartDaemon, tmp_path: Path, more: str, said: str
) -> None:
    """As without a template: exit code 1 and a sentence, once."""
    with pytest.raises(NotServing, match="ended with exit code 1") as failed:
        start(start_daemon, tmp_path, "--workers", "4", more=more)
    note = str(failed.value)
    assert said in note
    assert note.count("Next:") <= 1


def test_the_template_ends_with_the_supervisor_even_while_it_loads(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A supervisor that is killed cannot end it; workers finish what they have, then end too."""
    daemon = start(start_daemon, tmp_path)
    slow = "import time; time.sleep(300)"
    write(tmp_path, "two", more=slow)
    with Watch(daemon) as watch:
        assert ctl("shop", "reload", "--no-wait").returncode == 0
        loading = watch.until(lambda event: event["event"] == "template")
        (worker,) = who(daemon)
        with all_gone(template_of(daemon), loading["pid"], worker):
            os.kill(daemon.pid, signal.SIGKILL)


def test_a_stop_while_the_template_loads_does_not_wait_for_it(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Nobody waits in the queue, and the old worker has nothing in flight."""
    daemon = start(start_daemon, tmp_path)
    write(tmp_path, "two", more="import time; time.sleep(300)")
    with Watch(daemon) as watch:
        assert ctl("shop", "reload", "--no-wait").returncode == 0
        loading = watch.until(lambda event: event["event"] == "template")
        with all_gone(loading["pid"]), Shutdown(daemon) as shutdown:
            assert shutdown.result()["clean"]
    assert daemon.wait() == 0


def test_a_stop_answers_what_waits_in_the_queue_while_the_template_loads(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Nobody serves, and a worker will once it can be forked: no request is lost."""
    daemon = start(start_daemon, tmp_path)
    os.mkfifo(tmp_path / "go")
    write(tmp_path, "two", more="open('go').read()")
    with client(daemon) as shop, Watch(daemon) as watch:
        os.kill(template(daemon)["pid"], signal.SIGKILL)
        watch.until(lambda event: event["event"] == "template" and event["state"] == "gone")
        os.kill(shop.workers()[0].pid, signal.SIGKILL)
        watch.until(lambda event: event["event"] == "template" and event["state"] == "loading")
    with Caller(daemon.url) as caller, Shutdown(daemon) as shutdown:
        caller.get("/")
        shutdown.wait_begun()
        (tmp_path / "go").write_text("go")
        assert caller.text() == "two"
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0


def test_a_template_that_loads_too_long_is_ended_and_its_stacks_are_kept(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """--start-timeout holds for the import as without a template."""
    daemon = start(start_daemon, tmp_path, "--start-timeout", "3")
    write(tmp_path, "two", more="import time; time.sleep(300)")
    with client(daemon) as shop, Watch(daemon) as watch:
        assert ctl("shop", "reload", "--no-wait").returncode == 0
        loading = watch.until(lambda event: event["event"] == "template")
        with all_gone(loading["pid"]):
            incident = watch.until_incident()
        assert (incident["kind"], "--start-timeout" in incident["reason"]) == ("start failed", True)
        (kept,) = shop.incidents(incident["id"])
        assert "shop.py" in kept.stacks
    assert call(daemon.url, "/") == "one"


def template_of(daemon: Daemon) -> int:
    """Return the pid of the template that is ready."""
    found = json.loads(ctl(daemon.name, "status", "--json").stdout)["templates"]
    return next(int(each["pid"]) for each in found if each["state"] == "ready")


def test_a_child_that_the_import_has_forked_ends_with_its_template(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """As one that a worker has forked ends with its worker."""
    more = """
import signal
CHILD = os.fork()
if CHILD == 0:
    signal.pause()
STATE["child"] = CHILD
"""
    daemon = start(start_daemon, tmp_path, more=more)
    (worker,) = who(daemon).values()
    with all_gone(worker["state"]["child"]):
        assert ctl("shop", "reload").returncode == 0
    (worker,) = who(daemon).values()
    with all_gone(worker["state"]["child"]), Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]


def test_a_reload_switches_preloading_on_and_off(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """The settings are read again; nothing of the template is left."""
    write(tmp_path, "one")
    settings = tmp_path / "flaskd.toml"
    settings.write_text("preload = false\n")
    daemon = start_daemon("shop:app", cwd=tmp_path)
    for preload in (True, False, True):
        settings.write_text(f"preload = {str(preload).lower()}\n")
        with client(daemon) as shop, Watch(daemon) as watch:
            before = shop.status().templates
            assert shop.reload().changed == ["preload"]
            for _ in before:
                watch.until(lambda event: event["event"] == "template" and event["state"] == "gone")
            assert len(shop.status().templates) == preload
        (worker,) = who(daemon).values()
        assert (worker["loaded_by"] != worker["pid"]) is preload


def test_orphans_of_the_application_are_reaped(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """A supervisor with a template adopts what the application leaves behind, and waits for it when it ends."""
    more = """
import subprocess
def leave():
    return subprocess.check_output(["sh", "-c", "sleep 300 > /dev/null & echo $!"], text=True)
"""
    write(tmp_path, "one", more)
    with open(tmp_path / "shop.py", "a") as file:
        file.write('app.add_url_rule("/leave", "leave", leave)\n')
    daemon = start_daemon("shop:app", "--preload", cwd=tmp_path)
    orphan = int(call(daemon.url, "/leave"))
    deadline = time.monotonic() + PATIENCE
    assert orphan in children(daemon.pid)
    os.kill(orphan, signal.SIGKILL)
    while orphan in children(daemon.pid):
        assert time.monotonic() < deadline, "nobody has waited for it"
        time.sleep(0.01)


WITHOUT_PIDFD: Final = [sys.executable, "-m", "tests.support.seccomp", "pidfd_open", "ENOSYS"]
WITHOUT_PROC: Final = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(WITHOUT_PIDFD, id="pidfd"),
        pytest.param(WITHOUT_PROC, id="proc", marks=requires("root", "unshare", "mount")),
    ],
)
def test_a_template_serves_where_the_kernel_shows_less(
    start_daemon: StartDaemon, tmp_path: Path, prefix: list[str]
) -> None:
    """A crash is seen, and a worker is forked in its place."""
    write(tmp_path, "one")
    environ = {"PYTHONPATH": str(ROOT)}
    daemon = start_daemon(
        "shop:app", "--preload", "--engine", "waitress", cwd=tmp_path, prefix=prefix, environ=environ
    )
    with Watch(daemon) as watch, client(daemon) as shop:
        os.kill(shop.workers()[0].pid, signal.SIGKILL)
        assert watch.until_worker("serving")["why"] == "crash: killed by SIGKILL"
    assert call(daemon.url, "/") == "one"
    with Shutdown(daemon) as shutdown:
        assert shutdown.result()["clean"]
    assert daemon.wait() == 0


def test_a_kernel_that_does_not_let_it_adopt_is_told(start_daemon: StartDaemon, tmp_path: Path) -> None:
    """PR_SET_CHILD_SUBREAPER, which is 36."""
    write(tmp_path, "one")
    refused = [sys.executable, "-m", "tests.support.seccomp", "prctl,0=36", "EPERM"]
    with pytest.raises(NotServing, match="ended with exit code 1") as failed:
        start_daemon("shop:app", "--preload", cwd=tmp_path, prefix=refused, environ={"PYTHONPATH": str(ROOT)})
    note = str(failed.value)
    assert "--preload needs to adopt what the template forks, and the kernel refuses" in note
    assert "Next: leave out --preload" in note
    assert "Traceback" not in note


@requires("root")
def test_a_template_runs_as_the_workers_user(start_daemon: StartDaemon) -> None:
    """So nothing of the application ever runs as the supervisor's."""

    def start() -> Daemon:
        options = ("--preload", "--worker-user", "65534:65534", "--workers", "2")
        return start_daemon("tests.support.shop:app", *options, cwd=ROOT)

    if not can_run(
        65534, 65534
    ):  # a checkout, or a Python, that is root's alone: then so it is for the template
        with pytest.raises(NotServing):
            start()
        return
    daemon = start()
    pids = [template(daemon)["pid"], *children(daemon.pid)]
    assert len(set(pids)) == 3
    assert {os.stat(f"/proc/{pid}").st_uid for pid in pids} == {65534}
