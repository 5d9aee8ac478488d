"""`Client` and `AsyncClient`: one surface, typed results, both transports."""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.errors import (
    Ambiguous,
    BadPlace,
    ConnectionLost,
    Failed,
    NotRunning,
    ParseError,
    TimedOut,
    WrongState,
)
from flaskd_ctl.protocol import (
    RESULTS,
    KillResult,
    LostEvent,
    PingResult,
    ProgressEvent,
    ReloadResult,
    RestartResult,
    ScaleResult,
    ShutdownResult,
    StateEvent,
    StateResult,
    StatusResult,
    WorkerEvent,
)
from tests.flaskd_ctl.conftest import StartFake
from tests.flaskd_ctl.fake import CLEAN, PATIENCE, Call, Fake, golden, notifications, state_event

HOLD = 0.5

Use = Callable[..., Any]


def blocking(url: str, method: str, **arguments: Any) -> Any:
    with Client(endpoint=url, timeout=arguments.pop("patience", PATIENCE)) as client:
        if method == "events":
            return list(client.events())
        return getattr(client, method)(**arguments)


def asynchronous(url: str, method: str, **arguments: Any) -> Any:
    async def use() -> Any:
        async with AsyncClient(endpoint=url, timeout=arguments.pop("patience", PATIENCE)) as client:
            if method == "events":
                return [event async for event in client.events()]
            return await getattr(client, method)(**arguments)

    return asyncio.run(use())


@pytest.fixture(params=[blocking, asynchronous])
def use(request: pytest.FixtureRequest) -> Use:
    """Call one method on a client of each kind."""
    return request.param  # type: ignore[no-any-return]


def test_both_clients_have_a_method_for_each_command_with_the_same_signature() -> None:
    for method in [*RESULTS, "close", "wait", "list_instances"]:
        ours, theirs = (inspect.signature(getattr(kind, method)) for kind in (Client, AsyncClient))
        assert ours.parameters == theirs.parameters
    assert inspect.signature(Client) == inspect.signature(AsyncClient)


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        ("ping", PingResult),
        ("status", StatusResult),
        ("drain", StateResult),
        ("resume", StateResult),
        ("kill", KillResult),
        ("shutdown", ShutdownResult),
    ],
)
def test_results_are_typed(either: Fake, use: Use, method: str, shape: type) -> None:
    assert isinstance(use(either.url, method), shape)


def test_requests_is_a_list_and_describe_a_document(either: Fake, use: Use) -> None:
    assert use(either.url, "requests")[0].path == golden("requests")["requests"][0]["path"]
    assert use(either.url, "describe") == golden("describe")


def test_workers_and_incidents_are_lists(either: Fake, use: Use) -> None:
    assert [worker.id for worker in use(either.url, "workers")] == [3, 4]
    assert [incident.id for incident in use(either.url, "incidents")] == [2]
    assert "shop.py" in use(either.url, "incidents", id=2)[0].stacks
    assert [call.params for call in either.calls] == [{}, {}, {"id": 2}]


@pytest.mark.parametrize(
    ("method", "arguments", "params", "shape"),
    [
        ("reload", {}, {}, ReloadResult),
        ("reload", {"check": "/health"}, {"check": "/health"}, ReloadResult),
        ("scale", {"to": 2}, {"to": 2}, ScaleResult),
        ("scale", {"by": -1}, {"by": -1}, ScaleResult),
        ("restart_worker", {"worker": 3}, {"worker": 3}, RestartResult),
    ],
)
def test_what_takes_longer_tells_its_steps(
    either: Fake, use: Use, method: str, arguments: dict[str, Any], params: dict[str, Any], shape: type
) -> None:
    told: list[WorkerEvent] = []

    result = use(either.url, method, **arguments, on_progress=told.append)

    assert isinstance(result, shape)
    assert either.calls[0].params == {**params, "progress": True}
    assert [event.state for event in told] == [event["state"] for event in notifications(method)]


def test_a_reload_is_waited_for_as_long_as_the_daemon_answers(either: Fake, use: Use) -> None:
    """A worker may take minutes to load: only the daemon knows whether it goes on, and it is asked."""
    reloads: list[Call] = []
    pings: list[Call] = []

    def ping(call: Call) -> None:
        pings.append(call)
        call.reply(golden("ping"))
        if len(pings) == 3:
            reloads[0].reply(golden("reload"))

    either.on("reload", reloads.append).on("ping", ping)

    assert use(either.url, "reload", patience=HOLD).generation == 2
    assert len(reloads) == 1


def test_a_reload_by_a_daemon_that_falls_silent_is_timed_out(either: Fake, use: Use) -> None:
    either.on("reload", lambda call: call.steps()).on("ping", lambda call: None)

    with pytest.raises(TimedOut, match="shop did not answer `reload`"):
        use(either.url, "reload", patience=HOLD)


def test_a_reload_without_waiting_returns_when_it_has_begun(either: Fake, use: Use) -> None:
    either.on("reload", lambda call: call.steps())

    assert use(either.url, "reload", wait=False) is None


def test_a_failed_reload_carries_the_applications_traceback(either: Fake, use: Use) -> None:
    either.on("reload", lambda call: call.refuse("failed", "worker 3 could not start", traceback="Traceback"))

    with pytest.raises(Failed, match="worker 3 could not start") as failed:
        use(either.url, "reload")

    assert failed.value.data == {"traceback": "Traceback"}


def test_new_fields_are_ignored(either: Fake, use: Use) -> None:
    """A newer daemon may say more."""
    either.on("ping", lambda call: call.reply(golden("ping") | {"mood": "good"}))

    assert use(either.url, "ping").name == "shop"


def test_a_missing_field_is_a_parse_error(either: Fake, use: Use) -> None:
    either.on("ping", lambda call: call.reply({"name": "shop"}))

    with pytest.raises(ParseError, match="`ping`"):
        use(either.url, "ping")


def test_refusals_are_exceptions_with_a_hint(either: Fake, use: Use) -> None:
    either.on("resume", lambda call: call.refuse("wrong_state", "it is stopping", hint="wait"))

    with pytest.raises(WrongState, match="it is stopping") as refused:
        use(either.url, "resume")

    assert refused.value.hint == "wait"


def test_silence_is_timed_out(either: Fake, use: Use) -> None:
    either.on("status", lambda call: None)

    with pytest.raises(TimedOut, match="shop did not answer `status`"):
        use(either.url, "status", patience=HOLD)


def test_a_dead_daemon_is_told_at_once(either: Fake, use: Use) -> None:
    """ZeroMQ by itself would wait and connect again."""
    either.on("status", lambda call: call.fake.die())

    with pytest.raises(ConnectionLost):
        use(either.url, "status")


def test_nothing_there_is_told_at_once(start_fake: StartFake, use: Use) -> None:
    with pytest.raises(NotRunning):
        use("unix:///nowhere/sock", "ping")
    with pytest.raises(NotRunning):
        use("ipc:///nowhere/zmq", "ping")


def test_progress_is_told_as_it_comes_and_the_deadline_is_the_daemons(either: Fake, use: Use) -> None:
    """Patience is for the first word only."""
    told: list[ProgressEvent] = []
    second = threading.Event()

    def stop(call: Call) -> None:
        call.progress(in_flight=2, deadline_left=20.0)
        call.fake.start(finish, call) if call.fake.scheme == "unix" else finish(call)

    def finish(call: Call) -> None:
        assert not second.wait(HOLD * 3)  # longer than the patience: nobody sets it
        call.progress(in_flight=1)
        call.reply(CLEAN)
        call.fake.die()

    either.on("shutdown", stop)

    result = use(
        either.url, "shutdown", grace=20.0, wait_unrouted=2.0, on_progress=told.append, patience=HOLD
    )

    assert result.clean
    assert [event.in_flight for event in told] == [2, 1]
    assert either.calls[0].params == {"progress": True, "grace": 20.0, "wait_unrouted": 2.0}


def test_without_wait_the_first_word_is_enough(either: Fake, use: Use) -> None:
    either.on("shutdown", lambda call: call.progress())

    assert use(either.url, "shutdown", wait=False) is None


def test_a_timeout_bounds_the_whole_shutdown(either: Fake, use: Use) -> None:
    either.on("shutdown", lambda call: call.progress(deadline_left=3600.0))

    with pytest.raises(TimedOut):
        use(either.url, "shutdown", timeout=HOLD)


def test_events_come_until_the_last(either: Fake, use: Use) -> None:
    """Of a kind that this client does not know it says nothing."""

    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("running", "stopping"))
        call.note({"event": "lost", "at": 1.0, "count": 3})
        call.note({"event": "from the future"})
        call.note(state_event("stopping", "stopped"))

    either.on("events", tell)

    kinds = [type(event) for event in use(either.url, "events")]

    assert kinds == [StateEvent, LostEvent, StateEvent]


def test_events_that_break_off_are_told_as_lost(either: Fake, use: Use) -> None:
    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.fake.die()

    either.on("events", tell)

    with pytest.raises(ConnectionLost):
        use(either.url, "events")


def test_no_name_is_needed_with_one_instance(fake: Fake) -> None:
    with Client() as client:
        assert client.ping().name == "shop"


def test_no_name_with_several_is_ambiguous(start_fake: StartFake) -> None:
    start_fake("shop")
    start_fake("blog")

    with pytest.raises(Ambiguous) as refused, Client() as client:
        client.ping()

    assert refused.value.data == {"names": ["blog", "shop"]}


def test_a_name_and_an_endpoint_is_one_too_many(fake: Fake) -> None:
    with pytest.raises(BadPlace):
        Client("shop", endpoint=fake.url).ping()


def test_a_client_goes_on_after_a_refusal_and_after_a_silence(either: Fake) -> None:
    """A late reply to the first call is never taken for the second's."""
    late: list[Call] = []

    def be_late(call: Call) -> None:
        late.append(call)
        if len(late) == 2:
            for each in late:
                with contextlib.suppress(OSError):  # the first one's connection is gone by now
                    each.reply(golden("ping") | {"name": f"answer {late.index(each)}"})

    either.on("drain", lambda call: call.refuse("wrong_state")).on("ping", be_late)
    with Client(endpoint=either.url, timeout=HOLD) as client:
        with pytest.raises(WrongState):
            client.drain()
        with pytest.raises(TimedOut):
            client.ping()
        assert client.ping().name == "answer 1"


def test_a_client_follows_a_restart(place: Any, start_fake: StartFake) -> None:
    with Client("shop") as client:
        first = start_fake()
        assert client.ping()
        first.close()
        second = start_fake()
        assert client.ping()
        assert len(second.calls) == 1


def test_an_async_client_follows_a_restart(start_fake: StartFake) -> None:
    async def use() -> None:
        async with AsyncClient("shop") as client:
            first = start_fake()
            assert await client.ping()
            first.close()
            start_fake()
            assert await client.ping()

    asyncio.run(use())


def test_threads_take_turns(either: Fake) -> None:
    with Client(endpoint=either.url) as client:
        threads = [threading.Thread(target=client.ping) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

    assert len(either.calls) == 8


def test_tasks_take_turns_and_events_do_not_block_them(either: Fake) -> None:
    async def use() -> None:
        async with AsyncClient(endpoint=either.url) as client:
            told = client.events()
            first = asyncio.ensure_future(anext(told))
            await asyncio.gather(*(client.status() for _ in range(5)))
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
            await told.aclose()

    asyncio.run(use())


def test_a_cancelled_call_leaves_the_client_usable(either: Fake) -> None:
    either.on("status", lambda call: None)

    async def use() -> None:
        async with AsyncClient(endpoint=either.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(HOLD):
                    await client.status()
            assert (await client.ping()).name == "shop"

    asyncio.run(use())
