"""The stack file and the HAProxy in front of it fit together; tests/live/test_swarm.py runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.daemons import PATIENCE

DEPLOY: Final = Path(__file__).parents[2] / "docs" / "deploy"
PROXY: Final = (DEPLOY / "haproxy.cfg").read_text(encoding="utf-8")
SHOP: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "stack.yml").read_text(encoding="utf-8"))["services"][
    "shop"
]


@pytest.mark.live
def test_doctor_finds_nothing() -> None:
    """The deadlines of the stack, its health check and the proxy fit each other."""
    command = [sys.executable, "-m", "flaskd", "doctor", "--json", "stack.yml", "haproxy.cfg"]

    done = subprocess.run(command, cwd=DEPLOY, capture_output=True, text=True, timeout=PATIENCE)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["findings"] == []


def test_the_proxy_asks_where_the_instance_answers() -> None:
    """Else every task would be down, healthy as it is."""
    assert SHOP["environment"]["FLASKD_HEALTH"] == "0.0.0.0:" + re.findall(r"check port (\d+)", PROXY)[0]
    assert re.findall(r"server-template task \d+ (\w+):8000", PROXY) == ["shop"]


def test_the_proxy_has_a_slot_for_each_task() -> None:
    """While an update is under way there is one more than wanted, and those that still stop."""
    slots = int(re.findall(r"server-template task (\d+) ", PROXY)[0])

    assert slots >= 3 * SHOP["deploy"]["replicas"]


def test_the_command_is_the_images() -> None:
    """The stack names the command only so that it can be read there: it is the image's."""
    image = (DEPLOY / "Containerfile").read_text(encoding="utf-8")

    assert f"\nCMD {json.dumps(SHOP['command'])}\n" in image
