"""The image of docs/deploy on a real dockerd: what the engine asks of it, and what it gets."""

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import pytest

from tests.support.dockerd import ENGINE_PATIENCE, Engine
from tests.support.needs import requires
from tests.support.pages import steps

pytestmark = [pytest.mark.live, pytest.mark.timeout(300), requires("root", "docker", "haproxy")]

PAGE: Final = Path(__file__).parents[2] / "docs" / "containers.md"
_SHOWN: Final = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
_WORDS: Final = shlex.split(re.findall(r"^docker run .*", _SHOWN, re.MULTILINE)[0])
OPTIONS: Final = tuple(_WORDS[_WORDS.index("--stop-timeout") : -1])
"""How the page runs the image, without what would be in the way of a second container: its name and its port."""

KILLED: Final = 137
STARTING: Final = "1"
NOT_RUNNING: Final = "3"
QUICK: Final = ("--health-interval", "500ms")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start the engine once for all tests here, and build the image as the page says."""
    context = tmp_path_factory.mktemp("shop")
    shutil.copy(Path(__file__).parents[1] / "support" / "shop.py", context)
    (context / "slow.py").write_text("open('/gates/load', 'rb').read()\nfrom shop import app\n")
    (context / "requirements.txt").write_text("flask\n")
    with Engine() as booted:
        booted.build("shop:1", context)
        yield booted


class Container:
    """A container of the image; `args` are options of `docker run`, `command` takes the place of the image's."""

    def __init__(self, engine: Engine, *args: str, command: tuple[str, ...] = ()) -> None:
        self.engine = engine
        self.id = engine.docker("run", "--detach", *args, "shop:1", *command)

    def docker(self, command: str, *args: str) -> str:
        """Run `docker COMMAND ID …`."""
        return self.engine.docker(command, self.id, *args)

    @contextlib.contextmanager
    def asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        """A request that it has begun to answer."""
        with contextlib.closing(http.client.HTTPConnection("shop")) as connection:
            network = self.engine.inspect(self.id)["NetworkSettings"]
            connection.sock = self.engine.connect(network["IPAddress"], 8000)
            connection.request("GET", path)
            yield connection.getresponse()

    def serves(self) -> bool:
        """Tell whether the application answers, with its process id."""
        with self.asked("/") as response:
            return int(response.read()) > 1

    def until(self, wanted: str, *, since: float = 0) -> None:
        """Return when this has happened to it (since a Unix time)."""
        with self.engine.events(f"container={self.id}", since=since) as told:
            next(event for event in told if event["Action"] == wanted)


class Start(Protocol):
    """The `start` fixture: run the image with options of `docker run`; `command` takes the place of the image's."""

    def __call__(self, *args: str, command: tuple[str, ...] = ()) -> Container: ...


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Start containers; they are removed afterwards, with their health checks, which cost something."""
    started: list[Container] = []

    def run(*args: str, command: tuple[str, ...] = ()) -> Container:
        started.append(Container(engine, *args, command=command))
        return started[-1]

    yield run
    for each in started:
        engine.docker("rm", "--force", each.id)


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """A directory that containers see as /gates, with FIFOs on which they wait."""
    tmp_path.chmod(0o755)
    for name in ("load", "gate"):
        os.mkfifo(tmp_path / name)
        (tmp_path / name).chmod(0o644)
    return tmp_path


def gated(gates: Path) -> tuple[str, ...]:
    """Options for a container that waits on them."""
    return ("--mount", f"type=bind,source={gates},target=/gates", "--env", "SHOP_GATE=/gates/gate")


def release(gate: Path) -> None:
    """Let whoever waits on a FIFO go on."""
    with open(gate, "wb"):
        pass


def test_image_says_how_it_is_run_and_stopped(engine: Engine) -> None:
    """No shell is in between, the signal is the one that is graceful, and who runs it is nobody by number."""
    config = engine.inspect("shop:1")["Config"]

    assert config["Cmd"] == ["flaskd", "run", "shop:app"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"] == ["CMD", "flaskd_ctl", "status", "--serving"]


def test_commands_of_the_page(engine: Engine) -> None:
    """The container is run, operated and stopped as the page shows, whatever else there is."""
    commands = [step.text for step in steps(_SHOWN) if step.text.startswith("docker")]
    run = next(number for number, command in enumerate(commands) if command.startswith("docker run"))
    stop = commands.index("docker stop shop")
    try:
        engine.docker(*shlex.split(commands[run])[1:])
        engine.docker("exec", "shop", "flaskd_ctl", "wait", "--for", "ready")
        for command in commands[run + 1 : stop + 1]:
            engine.docker(*shlex.split(command)[1:])
        assert engine.inspect("shop")["State"]["ExitCode"] == 0
    finally:
        engine.docker("rm", "--force", "shop")


@pytest.mark.parametrize("mode", ["1777", "2777"], ids=["as Docker mounts it", "as Kubernetes mounts it"])
def test_it_runs_without_privileges_on_a_read_only_root(start: Start, mode: str) -> None:
    """All that it writes is in its runtime directory; process 1 is flaskd itself, and not root."""
    options = [f"{word},tmpfs-mode={mode}" if "/run/flaskd" in word else word for word in OPTIONS]
    shop = start(*options, *QUICK)
    shop.until("health_status: healthy")

    assert shop.serves()
    status = json.loads(shop.docker("exec", "flaskd_ctl", "--json", "status"))
    assert (status["state"], status["pid"]) == ("running", 1)
    assert "\nUid:\t10001\t10001" in shop.docker("exec", "cat", "/proc/1/status")
    assert shop.docker("diff") == ""


def test_it_is_healthy_when_it_serves_and_not_before(engine: Engine, start: Start, gates: Path) -> None:
    """Else an update that starts the new one first would end the old one while the new one still loads."""
    command = ("flaskd", "run", "slow:app")
    shop = start(*gated(gates), *QUICK, command=command)

    with engine.events(f"container={shop.id}", "event=exec_die", since=0) as checks:
        for code in (check["Actor"]["Attributes"]["exitCode"] for check in checks):
            assert code in {NOT_RUNNING, STARTING}
            if code == STARTING:
                break
    assert shop.docker("inspect", "--format", "{{.State.Health.Status}}") == "starting"

    release(gates / "load")

    shop.until("health_status: healthy")


def test_stop_answers_what_is_in_flight(start: Start, gates: Path) -> None:
    """`docker stop` is graceful: the engine's signal reaches process 1, which ends with 0 after its last answer."""
    shop = start(*OPTIONS, *gated(gates), *QUICK)
    shop.until("health_status: healthy")
    stop = threading.Thread(target=shop.docker, args=("stop",))
    with shop.asked("/held") as response:
        assert response.readline() == b"begun\n"

        stop.start()
        shop.until("kill")  # the signal was sent
        release(gates / "gate")

        assert response.read() == b"finished\n"
    stop.join(ENGINE_PATIENCE)
    assert shop.engine.inspect(shop.id)["State"]["ExitCode"] == 0


def test_shutdown_from_inside_ends_the_container(engine: Engine, start: Start) -> None:
    """Who asks in there, as a hook of an orchestrator does, goes with process 1: the engine tells it as killed."""
    shop = start(*OPTIONS, *QUICK)
    shop.until("health_status: healthy")

    engine.docker("exec", shop.id, "flaskd_ctl", "shutdown", expect=KILLED)

    shop.until("die")
    assert engine.inspect(shop.id)["State"]["ExitCode"] == 0


def test_killed_container_starts_again_over_its_stale_place(start: Start) -> None:
    """Its writable layer still has the sockets of the one that was killed, whose pid was 1 as well."""
    shop = start(*QUICK)
    shop.until("health_status: healthy")
    shop.docker("kill")
    shop.until("die")

    since = time.time()
    shop.docker("start")
    shop.until("health_status: healthy", since=since)

    assert shop.serves()
