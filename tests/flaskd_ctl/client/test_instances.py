"""`wait` and `list_instances` of `Client` and `AsyncClient`: what the command line has, with types."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.client.shapes import InstanceInfo
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.errors import InvalidParams, TimedOut
from tests.flaskd_ctl.conftest import StartFake
from tests.flaskd_ctl.fake import PATIENCE, Call, Fake, golden, state_event

HOLD = 0.3


def blocking(method: str, *arguments: Any) -> Any:
    return getattr(Client("shop"), method)(*arguments)


def asynchronous(method: str, *arguments: Any) -> Any:
    async def use() -> Any:
        async with AsyncClient("shop") as client:
            return await getattr(client, method)(*arguments)

    return asyncio.run(use())


Use = Callable[..., Any]


@pytest.fixture(params=[blocking, asynchronous])
def use(request: pytest.FixtureRequest) -> Use:
    """Call one method on a client of each kind."""
    return request.param  # type: ignore[no-any-return]


def test_a_state_that_holds_already_returns_the_status(fake: Fake, use: Use) -> None:
    assert use("wait", "ready").name == golden("status")["name"]


def test_a_change_ends_the_wait(fake: Fake, use: Use) -> None:
    def tell(call: Call) -> None:
        call.reply({"state": "draining", "since": 1})
        call.note(state_event("draining", "running"))

    states = iter([{"state": "draining", "ready": False}, {}])
    fake.on("events", tell).on("status", lambda call: call.reply(golden("status") | next(states)))

    assert use("wait", "ready", PATIENCE).ready


def test_an_instance_that_does_not_run_is_stopped_and_has_no_status(runtime_dir: str, use: Use) -> None:
    assert use("wait", "stopped") is None


def test_the_end_of_an_instance_ends_the_wait_for_it(fake: Fake, use: Use) -> None:
    answered = threading.Event()

    def answer(call: Call) -> None:
        call.reply(golden("status") | {"process_exits": False})
        answered.set()

    fake.on("status", answer)
    with ThreadPoolExecutor() as pool:
        waited = pool.submit(use, "wait", "stopped", PATIENCE)
        assert answered.wait(PATIENCE)
        assert not waited.done()
        fake.die()
        assert waited.result(PATIENCE).name == golden("status")["name"]


def test_an_instance_may_be_started_during_the_wait(start_fake: StartFake, use: Use) -> None:
    with ThreadPoolExecutor() as pool:
        waited = pool.submit(use, "wait", "running", PATIENCE)
        start_fake()
        assert waited.result(PATIENCE).state == "running"


@pytest.mark.parametrize("state", ["ready", "running", "idle", "stopped"])
def test_a_state_that_does_not_come_is_timed_out(fake: Fake, use: Use, state: str) -> None:
    fake.on("status", lambda call: call.reply(golden("status") | {"state": "draining", "ready": False}))

    with pytest.raises(TimedOut, match=rf"not {state} after 0.3 s \(seen last: "):
        use("wait", state, HOLD)


@pytest.mark.parametrize("state", ["ready", "running", "idle", "stopped"])
def test_a_wait_that_ends_while_the_instance_is_asked_says_what_it_waited_for(
    fake: Fake, use: Use, state: str
) -> None:
    """Its time may leave 2 ms for the last `status`; that this took longer says nothing about the instance."""
    fake.on("status", lambda call: None)

    with pytest.raises(TimedOut, match=rf"not {state} after 0.3 s \(seen last: no answer\)"):
        use("wait", state, HOLD)


def test_a_state_of_no_meaning_is_refused_with_those_that_have_one(runtime_dir: str, use: Use) -> None:
    with pytest.raises(InvalidParams, match="'asleep'") as refused:
        use("wait", "asleep")

    assert "ready, running, stopped, idle" in refused.value.hint


def test_waiting_leaves_the_event_loop_to_others(fake: Fake) -> None:
    """The end is awaited, and meanwhile another task calls."""

    async def use() -> None:
        async with AsyncClient("shop") as client:
            waiting = asyncio.ensure_future(client.wait("stopped", PATIENCE))
            while not fake.asked.is_set():
                await asyncio.sleep(0)
            assert (await client.ping()).name == golden("ping")["name"]
            fake.die()
            await waiting

    asyncio.run(asyncio.wait_for(use(), PATIENCE))


def test_every_instance_is_listed_with_what_is_known(start_fake: StartFake, place: Place, use: Use) -> None:
    start_fake()
    stale = Place(os.path.join(os.path.dirname(place.directory), "stale"))
    os.mkdir(stale.directory)
    with open(stale.instance_file, "w") as file:
        file.write('{"name": "stale", "pid": 7}')

    for name, who in (("gone", "flaskd_ctl shutdown"), ("odd", 7)):
        note = Path(os.environ["XDG_STATE_HOME"], "flaskd", f"{name}.json")
        note.parent.mkdir(parents=True, exist_ok=True)
        stop = {"at": 1000.0, "clean": True, "why": "shutdown command", "by": None, "who": who, "pid": 4711}
        directory = os.path.join(os.path.dirname(place.directory), name)
        written = {"name": name, "directory": directory, "pid": 4711, "started": 50.0, "stop": stop}
        note.write_text(json.dumps(written))

    running, left, gone, odd = use("list_instances")

    status = golden("status")
    assert isinstance(running, InstanceInfo)
    assert (running.name, running.state, running.ready) == ("shop", status["state"], status["ready"])
    assert (running.pid, running.listeners) == (status["pid"], status["listeners"])
    assert running.directory == place.directory
    assert (left.name, left.state, left.pid, left.ready) == ("stale", "stale", 7, None)
    assert (gone.name, gone.state, gone.since, gone.directory) == ("gone", "stopped", 1000.0, None)
    assert gone.last_stop is not None
    assert gone.last_stop.why == "shutdown command"
    assert (odd.state, odd.last_stop) == ("stopped", None)  # a note that is not as it should be
    assert left.detail == "its process ended without cleaning up"


def test_a_silent_instance_is_listed_as_that(fake: Fake, use: Use) -> None:
    fake.on("status", lambda call: None)

    (silent,) = use("list_instances", HOLD)

    assert (silent.state, silent.detail) == ("no answer", "no answer in 0.3 s")
