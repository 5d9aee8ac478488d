"""The line to a worker: whatever comes over it, the supervisor's loop goes on, and who waits is told."""

import asyncio
import json
import selectors
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flaskd.channel.supervisor_end import Channel
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
        self.channel = Channel(ours, on_event=self._on_event, on_end=self._on_end)
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


def reply(number: Any, **result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode() + b"\n"


def event(number: Any, **told: Any) -> bytes:
    message = {"jsonrpc": "2.0", "method": "event", "params": {"id": number, "event": told}}
    return json.dumps(message).encode() + b"\n"


@on_a_loop
async def test_answers_find_their_calls_in_any_order() -> None:
    """Two calls, answered the other way round, one of them with an error."""
    async with open_line() as line:
        first = line.channel.call("start", {"a": 1})
        assert await line.hears() == {"jsonrpc": "2.0", "id": 1, "method": "start", "params": {"a": 1}}
        second = line.channel.call("ping")

        await line.says(
            reply(2, pong=1)
            + b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"name":"failed","traceback":"T"}}}\n'
        )

        assert await asyncio.wait_for(second, WAIT) == {"pong": 1}
        with pytest.raises(Failed, match="no") as caught:
            await asyncio.wait_for(first, WAIT)
        assert caught.value.data == {"traceback": "T"}


@on_a_loop
async def test_a_message_may_come_in_pieces() -> None:
    """Byte by byte, and the rest of one together with the next."""
    async with open_line() as line:
        call = line.channel.call("start")
        message = event(1, event="asked") + reply(1, pid=7)
        for at in range(50):
            await line.says(message[at : at + 1])
        await line.says(message[50:])

        assert await asyncio.wait_for(call, WAIT) == {"pid": 7}
        assert line.events == [{"event": "asked"}]


@on_a_loop
async def test_what_belongs_to_no_call_is_passed_over() -> None:
    """Replies to nobody, twice the same reply, notes of calls that never were: the line goes on."""
    async with open_line() as line:
        call = line.channel.call("start")
        await line.says(reply(99, x=1) + event(99, event="?") + reply(1, pid=7) + reply(1, pid=8))
        await line.says(
            b'\n\n  \n{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}\n'
            + event(1, event="asked")
        )
        await asyncio.wait_for(line.heard.wait(), WAIT)

        assert call.result() == {"pid": 7}
        assert line.events == [{"event": "asked"}]
        assert not line.ends


RUBBISH = {
    "text": b"Traceback (most recent call last):\n",
    "binary": bytes(range(256)) + b"\n",
    "no object": b"[1,2,3]\n",
    "another protocol": b'{"jsonrpc":"1.0","id":1,"result":{}}\n',
    "a result that is none": b'{"jsonrpc":"2.0","id":1,"result":7}\n',
    "an error that is none": b'{"jsonrpc":"2.0","id":1,"error":7}\n',
    "an id that is none": b'{"jsonrpc":"2.0","id":{"a":1},"result":{}}\n',
    "an event that is none": b'{"jsonrpc":"2.0","method":"event","params":{"id":1,"event":3}}\n',
    "deeply nested": b"[" * 200_000 + b"\n",
    "an enormous number": b'{"jsonrpc":"2.0","id":1' + b"0" * 9999 + b',"result":{}}\n',
    "half a surrogate": b'{"jsonrpc":"2.0","id":1,"result":{"versions":{"a":"\\ud800"}}}\n',
    "no number": b'{"jsonrpc":"2.0","method":"event","params":{"id":1,"event":{"grace":NaN}}}\n',
    "2 MiB in a line": b'"' + b"x" * 2 * MAX_MESSAGE + b'"\n',
    "2 MiB without an end": b"x" * 2 * MAX_MESSAGE,
}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH.keys())
def test_who_speaks_another_protocol_is_no_worker_any_more(data: bytes) -> None:
    """The line is closed, its end is told once, and whoever waits for an answer is let go."""

    async def scenario() -> None:
        async with open_line() as line:
            call = line.channel.call("start")
            saying = asyncio.ensure_future(line.says(data))
            await line.end()
            await asyncio.gather(saying, return_exceptions=True)

            assert call.cancelled()
            assert line.ends == 1
            assert line.channel.call("ping").cancelled(), "a call on a closed line is over at once"

    asyncio.run(scenario())


@on_a_loop
async def test_an_end_in_the_middle_of_a_line_lets_go_of_who_waits() -> None:
    """A worker that is killed may have written half a reply."""
    async with open_line() as line:
        call = line.channel.call("start")
        await line.says(reply(1, pid=7)[:-5])
        line.worker.close()

        await line.end()

        assert call.cancelled()
        assert line.ends == 1


@on_a_loop
async def test_what_a_dead_worker_had_still_said_is_read() -> None:
    """Its death may be told before its last words, however many: they count."""
    async with open_line() as line:
        call = line.channel.call("start")
        await line.says(event(1, event="asked", text="x" * 70_000) + reply(1, pid=7))
        line.worker.close()

        line.channel.read_rest()

        assert call.result() == {"pid": 7}
        assert len(line.events) == 1
        assert line.ends == 1


@on_a_loop
async def test_sending_to_a_worker_that_does_not_read_never_blocks() -> None:
    """What does not fit into the kernel waits here, and arrives whole and in order when the worker reads again."""
    async with open_line() as line:
        calls = [line.channel.call("say", {"text": "x" * 50_000}) for _ in range(100)]
        await asyncio.sleep(0)  # the loop goes on

        received = b""
        numbers: list[int] = []
        while len(numbers) < len(calls):
            received += await asyncio.wait_for(
                asyncio.get_running_loop().sock_recv(line.worker, 1 << 20), WAIT
            )
            *whole, received = received.split(b"\n")
            numbers += [json.loads(message)["id"] for message in whole]

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
            call = line.channel.call("ping")
            asyncio.get_running_loop().call_later(0.1, line.heard.set)
            await line.heard.wait()
            assert selector.turns < 10

            line.heard.clear()
            await line.says(event(1, event="asked"))
            await asyncio.wait_for(line.heard.wait(), WAIT)
            assert not call.done()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(scenario())


@on_a_loop
async def test_closing_twice_is_harmless_and_tells_nobody() -> None:
    """The end that we make ourselves is no news."""
    async with open_line() as line:
        call = line.channel.call("start")
        line.channel.close()
        line.channel.close()
        line.channel.read_rest()

        assert call.cancelled()
        assert not line.ends


@on_a_loop
async def test_the_rest_of_a_line_has_an_end() -> None:
    """A child that a worker left behind may hold its end and write for ever: the loop is not kept for it."""
    async with open_line() as line:
        line.channel.call("start")

        class Endless(list[Any]):
            def append(self, told: Any) -> None:
                super().append(told)
                line.worker.send(event(1, event="asked"))

        line.events = Endless()
        line.worker.send(event(1, event="asked"))

        line.channel.read_rest()

        assert 1 < len(line.events) < 1000
