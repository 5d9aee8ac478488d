"""The command line imports only what it needs: it is run from scripts, prompts and health checks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import file_name, identify
from tests.flaskd_ctl.conftest import StartFake
from tests.flaskd_ctl.fake import Call, Fake, golden, state_event

HEAVY = {
    "zmq",
    "msgspec",
    "asyncio",
    "flask",
    "werkzeug",
    "dataclasses",
    "pathlib",
    "subprocess",
    "tempfile",
    "logging",
    "hashlib",
}
SCRIPT = """
import json, sys
from flaskd_ctl.cli import main as cli
try:
    cli.main({arguments!r})
except SystemExit as end:
    print(json.dumps([end.code, sorted(sys.modules)]))
"""


def stopping(call: Call) -> None:
    call.reply({"state": "stopping", "since": 1})
    call.note(state_event("stopping", "stopped"))


def imported(*arguments: str) -> tuple[int, set[str]]:
    script = SCRIPT.format(arguments=arguments)
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )
    code, modules = json.loads(ran.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("--name", "shop", "shutdown"),
        ("events",),
        ("list",),
        ("wait", "--for", "ready"),
        ("reload",),
        ("workers",),
        ("--help",),
        ("status", "--name", "nobody"),
    ],
)
def test_nothing_heavy_is_imported(fake: Fake, arguments: tuple[str, ...]) -> None:
    """Each of these costs more than the question itself."""
    if arguments == ("events",):
        fake.on("events", stopping)

    code, modules = imported(*arguments)

    assert (3 if "nobody" in arguments else 0) == code

    assert not HEAVY & modules


def test_status_of_one_process_imports_nothing_of_workers_or_long_commands(fake: Fake) -> None:
    alone = golden("status") | {"workers": [], "wanted_workers": 0}
    fake.on("status", lambda call: call.reply(alone))

    _, modules = imported("status")

    assert (
        not {f"flaskd_ctl.{name}" for name in ("text.workers", "client.following", "client.stopping")}
        & modules
    )


def test_a_record_of_an_instance_is_found_without_hashing(place: Place) -> None:
    """Each `shutdown` looks for one, and hashlib loads OpenSSL."""
    state = Path(os.environ["XDG_STATE_HOME"], "flaskd")
    state.mkdir(parents=True)
    record = {"name": "shop", "directory": place.directory, **identify(os.getpid())}
    (state / file_name(place.directory)).write_text(json.dumps(record))

    code, modules = imported("list")

    assert code == 0
    assert "flaskd_ctl.contract.process_record" in modules
    assert not HEAVY & modules


def test_only_zeromq_endpoints_import_zmq(start_fake: StartFake) -> None:
    fake = start_fake(scheme="ipc")

    code, modules = imported("ping", "--endpoint", fake.url)

    assert code == 0
    assert "zmq" in modules
    assert "msgspec" not in modules


def test_the_contract_is_light() -> None:
    script = "import sys, flaskd_ctl.contract.commands, flaskd_ctl.errors, flaskd_ctl.contract.endpoint; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30
    )

    assert not HEAVY & set(ran.stdout.split())
