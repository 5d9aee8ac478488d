"""The line to a worker: whatever comes over it, the supervisor's loop goes on, and who waits is told."""

import asyncio
import json
import selectors
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flaskd.channel.messages import Done, Loaded, Ping, Ready, Start, StopGracefully
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.settings.schema import Settings
from flaskd.tasks import CallCommand, CommandCalled, CommandProgress, CommandsListed, ListCommands, Note
from flaskd_ctl.contract.conversation import MAX_MESSAGE
from flaskd_ctl.errors import Failed

WAIT = 10.0
"""Seconds after which a wait fails."""


class Line:
    """A channel and, at its other end, a worker of the test's: a plain socket."""

    def __init__(self) -> None:
        self.worker, ours = socket.socketpair()
        self.worker.setblocking(False)
        self.events: list[Any] = []
        self.heard = asyncio.Event()
        self.ended = asyncio.Event()
        self.ends = 0
        self.channel = SupervisorChannel(ours, on_event=self._on_event, on_end=self._on_end)
        self._loop = asyncio.get_running_loop()

    def _on_event(self, event: Any) -> None:
        self.events.append(event)
        self.heard.set()

    def _on_end(self) -> None:
        self.ends += 1
        self.ended.set()

    async def says(self, data: bytes) -> None:
        await asyncio.wait_for(self._loop.sock_sendall(self.worker, data), WAIT)

    async def hears(self) -> Any:
        received = b""
        while not received.endswith(b"\n"):
            received += await asyncio.wait_for(self._loop.sock_recv(self.worker, 65536), WAIT)
        return json.loads(received)

    async def end(self) -> None:
        await asyncio.wait_for(self.ended.wait(), WAIT)


@asynccontextmanager
async def open_line() -> AsyncIterator[Line]:
    line = Line()
    try:
        yield line
    finally:
        line.channel.close()
        line.worker.close()


def on_a_loop(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        asyncio.run(scenario(), debug=False)

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test


PING = Ping()
CALL = CallCommand(name="x", params="{}", role="operator")
LONG = Start(
    settings=Settings(app="x" * 50_000),
    engine="",
    name="",
    worker=1,
    generation=1,
    listeners=[],
    request_table=0,
    metrics=0,
    errors=0,
    slow=0,
    loads=0,
    load_row=0,
    stacks=0,
    log=0,
    records=0,
)
LOADED = b'{"type":"loaded"}\n'


def ready(number: Any, **versions: str) -> bytes:
    return json.dumps({"type": "ready", "number": number, "versions": versions}).encode() + b"\n"


@on_a_loop
async def test_replies_find_their_calls_in_any_order() -> None:
    """Two calls, answered the other way round, one of them refused."""
    async with open_line() as line:
        first = line.channel.call(StopGracefully(grace=1, linger=2))
        assert await line.hears() == {"call": "stop", "number": 1, "grace": 1.0, "linger": 2.0}
        second = line.channel.call(PING)

        await line.says(
            b'{"type":"done","number":2}\n{"type":"refused","number":1,"message":"no","hint":"h","traceback":"T"}\n'
        )

        assert await asyncio.wait_for(second, WAIT) == Done(number=2)
        with pytest.raises(Failed, match="no") as caught:
            await asyncio.wait_for(first, WAIT)
        assert (caught.value.hint, caught.value.data) == ("h", {"traceback": "T"})


@on_a_loop
async def test_a_message_may_come_in_pieces() -> None:
    """Byte by byte, and the rest of one together with the next."""
    async with open_line() as line:
        call = line.channel.call(PING)
        message = LOADED + ready(1, a="b")
        for at in range(30):
            await line.says(message[at : at + 1])
        await line.says(message[30:])

        assert await asyncio.wait_for(call, WAIT) == Ready(number=1, versions={"a": "b"})
        assert line.events == [Loaded()]


@on_a_loop
async def test_a_reply_to_no_call_is_passed_over() -> None:
    """Replies to nobody, twice the same reply, empty lines: the channel goes on."""
    async with open_line() as line:
        call = line.channel.call(PING)
        await line.says(ready(99) + ready(1, a="b") + ready(1, a="c"))
        await line.says(b"\n\n  \n" + LOADED)
        await asyncio.wait_for(line.heard.wait(), WAIT)

        assert call.result() == Ready(number=1, versions={"a": "b"})
        assert line.events == [Loaded()]
        assert not line.ends


RUBBISH = {
    "text": b"Traceback (most recent call last):\n",
    "binary": bytes(range(256)) + b"\n",
    "no object": b"[1,2,3]\n",
    "no type": b'{"number":1}\n',
    "an unknown type": b'{"type":"joy","number":1}\n',
    "a supervisor's call": b'{"call":"ping","number":1}\n',
    "a reply that is none": b'{"type":"ready","number":1,"versions":7}\n',
    "an error that is none": b'{"type":"refused","number":1,"message":7}\n',
    "a number that is none": b'{"type":"done","number":{"a":1}}\n',
    "a count that cannot be": b'{"type":"stopped","number":1,"cut":[],"connections_cut":-1}\n',
    "an order that is none": b'{"type":"asked","order":"fly"}\n',
    "deeply nested": b"[" * 200_000 + b"\n",
    "an enormous number": b'{"type":"done","number":1' + b"0" * 9999 + b"}\n",
    "half a surrogate": b'{"type":"ready","number":1,"versions":{"a":"\\ud800"}}\n',
    "no JSON number": b'{"type":"asked","order":"shutdown","params":{"grace":NaN}}\n',
    "2 MiB in a line": b'"' + b"x" * 2 * MAX_MESSAGE + b'"\n',
    "2 MiB without an end": b"x" * 2 * MAX_MESSAGE,
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH.keys())
def test_a_worker_that_sends_anything_else_is_no_worker_any_more(data: bytes) -> None:
    """The line is closed, its end is told once, and whoever waits for an answer is let go."""

    async def scenario() -> None:
        async with open_line() as line:
            call = line.channel.call(PING)
            saying = asyncio.ensure_future(line.says(data))
            await line.end()
            await asyncio.gather(saying, return_exceptions=True)

            assert call.cancelled()
            assert line.ends == 1
            assert line.channel.call(PING).cancelled(), "a call on a closed line is over at once"

    asyncio.run(scenario())


@on_a_loop
async def test_an_end_in_the_middle_of_a_line_lets_go_of_who_waits() -> None:
    """A worker that is killed may have written half a reply."""
    async with open_line() as line:
        call = line.channel.call(PING)
        await line.says(ready(1, a="b")[:-5])
        line.worker.close()

        await line.end()

        assert call.cancelled()
        assert line.ends == 1


@on_a_loop
async def test_what_a_dead_worker_had_still_said_is_read() -> None:
    """Its death may be told before its last words, however many: they count."""
    async with open_line() as line:
        call = line.channel.call(PING)
        await line.says(b'{"type":"progress","phase":"' + b"x" * 70_000 + b'"}\n' + ready(1, a="b"))
        line.worker.close()

        line.channel.read_rest()

        assert call.result() == Ready(number=1, versions={"a": "b"})
        assert len(line.events) == 1
        assert line.ends == 1


@on_a_loop
async def test_sending_to_a_worker_that_does_not_read_never_blocks() -> None:
    """What does not fit into the kernel waits here, and arrives whole and in order when the worker reads again."""
    async with open_line() as line:
        calls = [line.channel.call(LONG) for _ in range(100)]
        await asyncio.sleep(0)  # the loop goes on

        received = b""
        numbers: list[int] = []
        while len(numbers) < len(calls):
            received += await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(line.worker, 1 << 20), WAIT
            )
            *whole, received = received.split(b"\n")
            numbers += [json.loads(message)["number"] for message in whole]

        assert numbers == list(range(1, 101))
        line.channel.close()
        assert all(call.cancelled() for call in calls)


class CountingSelector(selectors.SelectSelector):
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.turns += 1
        return super().select(timeout)


def test_a_worker_that_has_closed_its_reading_side_costs_no_time() -> None:
    """What cannot be sent is dropped: a socket that can be written to, and only says EPIPE, would keep the loop busy."""
    selector = CountingSelector()

    async def scenario() -> None:
        async with open_line() as line:
            line.worker.shutdown(socket.SHUT_RD)
            call = line.channel.call(PING)
            asyncio.get_running_loop().call_later(0.1, line.heard.set)
            await line.heard.wait()
            assert selector.turns < 10

            line.heard.clear()
            await line.says(LOADED)
            await asyncio.wait_for(line.heard.wait(), WAIT)
            assert not call.done()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(scenario())


@on_a_loop
async def test_closing_twice_is_harmless_and_tells_nobody() -> None:
    """The end that we make ourselves is no news."""
    async with open_line() as line:
        call = line.channel.call(PING)
        line.channel.close()
        line.channel.close()
        line.channel.read_rest()

        assert call.cancelled()
        assert not line.ends


@on_a_loop
async def test_the_rest_of_a_line_has_an_end() -> None:
    """A child that a worker left behind may hold its end and write for ever: the loop is not kept for it."""
    async with open_line() as line:
        line.channel.call(PING)

        class Endless(list[Any]):
            def append(self, told: Any) -> None:
                super().append(told)
                line.worker.send(LOADED)

        line.events = Endless()
        line.worker.send(LOADED)

        line.channel.read_rest()

        assert 1 < len(line.events) < 1000


@on_a_loop
async def test_what_a_task_reports_comes_before_its_reply() -> None:
    """Only while somebody waits for that reply; a note that belongs to nothing is no harm."""
    notes: list[Note] = []
    async with open_line() as line:
        reply = line.channel.call(CALL, on_note=notes.append)
        number = (await line.hears())["number"]

        await line.says(b'{"type":"command_progress","number":99,"value":"0"}\n')
        await line.says(b'{"type":"command_progress","number":%d,"value":"1"}\n' % number)
        await line.says(b'{"type":"command_called","number":%d,"result":"2"}\n' % number)
        await line.says(b'{"type":"command_progress","number":%d,"value":"3"}\n' % number)
        await line.says(b'{"type":"loaded"}\n')
        await asyncio.wait_for(line.heard.wait(), WAIT)

        assert notes == [CommandProgress(number=number, value="1")]
        assert reply.result() == CommandCalled(number=number, result="2")
        assert line.channel.unanswered == 0


@on_a_loop
async def test_a_call_that_nobody_waits_for_counts_until_it_is_answered() -> None:
    """The supervisor keeps what a worker that hangs does not read."""
    notes: list[Note] = []
    async with open_line() as line:
        line.channel.call(CALL, on_note=notes.append).cancel()
        number = (await line.hears())["number"]
        assert line.channel.unanswered == 1

        await line.says(b'{"type":"command_progress","number":%d,"value":"1"}\n' % number)
        await line.says(b'{"type":"command_called","number":%d}\n{"type":"loaded"}\n' % number)
        await asyncio.wait_for(line.heard.wait(), WAIT)

        assert (notes, line.channel.unanswered) == ([], 0)


@on_a_loop
async def test_a_progress_message_that_is_too_long_is_no_message() -> None:
    """Its sender is no worker any more."""
    async with open_line() as line:
        reply = line.channel.call(CALL, on_note=print)
        await line.says(b'{"type":"command_progress","number":1,"value":"%s"}\n' % (b"x" * 5000))
        await line.end()

        assert reply.cancelled()


@on_a_loop
async def test_no_worker_offers_a_command_to_viewers() -> None:
    """A list that says so is no message: calling needs operator, whatever a worker says."""
    command = '{"name":"x","role":"%s","on":"one","timeout":1,"summary":"","schema":"{}"}'
    listed = '{"type":"commands_listed","number":%d,"commands":[%s]}\n'
    async with open_line() as line:
        honest = line.channel.call(ListCommands())
        await line.says((listed % (1, command % "operator")).encode())
        assert isinstance(await asyncio.wait_for(honest, WAIT), CommandsListed)

        hostile = line.channel.call(ListCommands())
        await line.says((listed % (2, command % "viewer")).encode())
        await line.end()

        assert hostile.cancelled()
