"""What `flaskd_ctl top` shows can be had from `flaskd_ctl … --json`: here `top` knows nothing but what those commands print."""

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import pytest

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.live.seen import Row
from flaskd_ctl.live.watch import Watch
from flaskd_ctl.top import details, header
from flaskd_ctl.top.panels import INSTANCES, PANELS, cells, instance_row
from tests.support.caller import visit
from tests.support.daemons import PATIENCE, Daemon, StartDaemon
from tests.support.operating import client

pytestmark = pytest.mark.live

APP: Final = """
import logging, threading, flask
app = flask.Flask(__name__)
held = threading.Event()
@app.get("/held")
def hold():
    held.wait(120)
    return "late"
@app.get("/broken")
def broken():
    logging.warning("the stock is low")
    raise ValueError("no such item")
@app.get("/free")
def free():
    held.set()
    return "free"
"""

POSITIONAL: Final = {"errors": "id", "incidents": "id"}
"""Params that the command line takes without an option."""

NOT_ALWAYS: Final = {("instances", "away")}
"""Columns that are empty while all is well."""


class Printed:
    """An instance as it is printed: each call is a `flaskd_ctl … --json`."""

    def __init__(self, name: str) -> None:
        self.label = name
        self.asked: set[str] = set()

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the command to its end, and read what it has printed."""
        process = await self._start(method, params or {})
        try:
            printed, _ = await process.communicate()
        finally:
            await end(process)
        assert process.returncode == 0, method
        result: dict[str, Any] = json.loads(printed)
        return result

    async def stream(self, method: str, params: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what the command prints, line by line."""
        process = await self._start(method, params)
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                told = json.loads(line)
                yield {"lines": [told], "event": "log"} if method == "logs" else told
        finally:
            await end(process)

    async def follow(
        self, method: str, params: dict[str, Any], on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Nothing is changed here."""
        raise NotImplementedError

    async def close(self) -> None:
        """There is no connection."""

    async def _start(self, method: str, params: dict[str, Any]) -> asyncio.subprocess.Process:
        assert not COMMANDS[method].changes
        self.asked.add(method)
        options = []
        for name, value in params.items():
            if name != POSITIONAL.get(method):
                options.append(f"--{name}")
            if value is not True:
                options.append(str(value))
        command = ["-m", "flaskd_ctl", "--name", self.label, "--json", method.replace("_", "-"), *options]
        return await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill what has not ended, and close its pipe."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.fixture
def daemon(start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    (tmp_path / "watched.py").write_text(APP)
    return start_daemon("watched:app", "--engine", "waitress", "--threads", "4")


def missing(shown: dict[str, list[Row]]) -> set[tuple[str, str]]:
    """Return the columns without a value in any row, as panel and field."""
    return {
        (panel.name, column.field)
        for panel in (INSTANCES, *PANELS)
        for column in panel.columns
        if all(row.get(column.field) in (None, "") for row in shown[panel.name])
    } - NOT_ALWAYS


async def look(daemon: Daemon) -> tuple[Printed, dict[str, list[Row]], list[str]]:
    """Watch until each column has a value; return the rows by panel, and the two lines above them."""
    source = Printed(daemon.name)
    changed = asyncio.Event()
    watch = Watch(source, interval=0.5, changed=changed.set)
    shown: dict[str, list[Row]] = {}
    task = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(2 * PATIENCE):
            while not shown or missing(shown):
                await asyncio.to_thread(visit, f"{daemon.url}/broken")
                with client(daemon) as running:
                    await asyncio.to_thread(running.drain)
                    await asyncio.to_thread(running.resume)
                await changed.wait()
                changed.clear()
                shown = {panel.name: panel.rows(watch.seen) for panel in PANELS}
                shown[INSTANCES.name] = [instance_row(watch.seen)]
    except TimeoutError:
        raise AssertionError(f"no value in {missing(shown)}; refused: {watch.seen.refused}") from None
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return source, shown, [header.instance_line(watch.seen), header.numbers_line(watch.seen)]


@pytest.mark.timeout(150)
def test_each_number_of_top_is_in_what_a_command_prints_as_json(daemon: Daemon) -> None:
    """Each column of each panel, each number above them, and what is behind each row."""
    waits = threading.Thread(target=visit, args=(f"{daemon.url}/held",))
    waits.start()
    try:
        source, shown, lines = asyncio.run(look(daemon))

        assert f"{daemon.name} · " in lines[0]
        assert "-" not in lines[1].split(), lines[1]
        assert {panel.method for panel in PANELS} <= source.asked
        for panel in (INSTANCES, *PANELS):
            assert all(isinstance(cell, str) for row in shown[panel.name] for cell in cells(panel, row))
        for panel in PANELS:
            row = shown[panel.name][0]
            assert asyncio.run(details.behind(source, panel, row)).strip(), panel.name
    finally:
        visit(f"{daemon.url}/free")
        waits.join(60)
