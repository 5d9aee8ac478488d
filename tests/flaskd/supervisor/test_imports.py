"""What the supervisor's process is made of."""

import json
import subprocess
import sys

import pytest

LOAD = """
import json, sys
import flaskd.cli, flaskd.supervisor.main
from flaskd.listening import addresses
addresses.bind("127.0.0.1:0", backlog=1).close()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that are loaded when `flaskd run` has begun to supervise."""
    shown = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, check=True, timeout=60)
    return set(json.loads(shown.stdout))


@pytest.mark.parametrize("package", ["flask", "werkzeug", "jinja2", "granian"])
def test_the_supervisor_loads_no_web_framework(loaded: set[str], package: str) -> None:
    """Whatever the application and its libraries do, they do it elsewhere."""
    assert not {name for name in loaded if name.split(".")[0] == package}


def test_the_supervisor_loads_nothing_that_serves(loaded: set[str]) -> None:
    """Nor an engine, nor what stands around the application in a worker."""
    serving = {
        f"flaskd.{name}"
        for name in (
            "serving",
            "ledger.middleware",
            "app.extension",
            "app.loader",
            "embedded.server",
            "worker.main",
        )
    }
    engines = {name for name in loaded if name.startswith("flaskd.engines.")} - {"flaskd.engines.choice"}

    assert not (serving & loaded) | engines


@pytest.mark.parametrize(
    "module", ["flaskd.control.tcp.endpoints", "zmq.auth", "encodings.idna", "flaskd.doctor", "sysconfig"]
)
def test_the_supervisor_loads_nothing_that_few_need(loaded: set[str], module: str) -> None:
    """Keys for tcp:// and names of hosts beyond ASCII cost who uses them, and nobody else; nor what is large for one value."""
    assert module not in loaded
