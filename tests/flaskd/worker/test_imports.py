"""What is loaded when a worker's process is ready for an application, and when `flaskd run` forks the first one."""

import json
import subprocess
import sys

import pytest

WORKER = """
import json, sys
import flask.cli
of_flask = set(sys.modules)
import flaskd.worker.main
from flaskd.engines.factory import check_engine, engine_class
engine_class({engine!r})
check_engine({engine!r}, tls=None)
"""
BEYOND_FLASK = "print(json.dumps(sorted(set(sys.modules) - of_flask)))"
BEFORE = """
import sys
before = set(sys.modules)  # what an installation's .pth files import
{code}
found = sorted(set(sys.modules) - before)
import json
print(json.dumps(found))
"""
SUPERVISOR = """
import flaskd.cli, flaskd.logs.handler, flaskd.supervisor.main
from flaskd.process.inotify import Inotify
Inotify().close()  # it watches the directory of the control sockets
"""

SUPERVISORS = {"supervisor", "control", "probes", "cli", "instance", "doctor", "systemd", "start", "embedded"}


def loaded(code: str) -> set[str]:
    shown = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, timeout=60)
    return set(json.loads(shown.stdout))


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_a_worker_loads_nothing_that_takes_time_and_that_it_does_not_use(engine: str) -> None:
    """Beyond what Flask has loaded: no event loop, no ZeroMQ, nothing of the supervisor's, no other engine, no other server."""
    found = loaded(WORKER.format(engine=engine) + BEYOND_FLASK)

    heavy = {"asyncio", "zmq", "multiprocessing", "watchfiles", "anyio", "click", "granian.server", "granian"}
    assert not found & heavy
    parts = {name.split(".")[1] for name in found if name.startswith("flaskd.")}
    assert not parts & SUPERVISORS
    engines = {name.split(".")[2] for name in found if name.startswith("flaskd.engines.")}
    assert {name for name in engines if name.endswith("_engine")} == {f"{engine}_engine"}


def test_an_application_that_imports_granian_gets_all_of_it() -> None:
    """Though the engine has loaded only what it uses."""
    code = (
        WORKER.format(engine="granian")
        + "\nimport granian.http\nassert granian.Granian.__name__ and granian.http.HTTP1Settings"
    )
    assert "granian._granian" in loaded(f"{code}\n{BEYOND_FLASK}")


@pytest.mark.parametrize("engine", ["waitress", "granian", "werkzeug"])
def test_what_is_loaded_before_the_fork_is_what_both_processes_need(engine: str) -> None:
    """Nothing that one of them does not use; and of flaskd all that both use, so that they share its memory."""
    both = loaded(BEFORE.format(code="import flaskd.both")) - {"flaskd.both"}
    supervisor = loaded(BEFORE.format(code=SUPERVISOR))
    worker = loaded(BEFORE.format(code=WORKER.format(engine=engine)))

    assert not both - supervisor
    assert not both - worker
    assert {name for name in supervisor & worker if name.startswith("flaskd")} <= both
