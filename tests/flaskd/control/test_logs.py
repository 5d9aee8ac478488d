"""`logs`: replies are bounded, and a follower that reads slowly costs nothing and learns what it has missed."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from flaskd.control.handlers.logs import LARGEST_REPLY, within
from flaskd.control.transports.log_follower import BATCH, LogFollower
from flaskd.logs.ring import Ring, Wanted
from flaskd_ctl.protocol import MAX_MESSAGE, LogEvent, LogLine, LostEvent, StateEvent

PATIENCE = 10.0


def line(message: str, *, worker: int = 1) -> LogLine:
    return LogLine(1.0, "info", worker, message)


class Reader:
    """Reads what a follower sends; while `awake` is not set it does not."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self.awake.set()
        self.events: list[Any] = []
        self.news = asyncio.Event()

    async def send(self, event: Any) -> bool:
        await self.awake.wait()
        self.events.append(event)
        self.news.set()
        return True

    @property
    def read(self) -> list[str]:
        """The messages, and "lost N" where lines are missing."""
        found: list[str] = []
        for event in self.events:
            if isinstance(event, LostEvent):
                found.append(f"lost {event.count}")
            elif isinstance(event, LogEvent):
                found += [each.message for each in event.lines]
        return found

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                self.news.clear()
                await self.news.wait()


def follow(
    work: Callable[[Ring, LogFollower, Reader], Any],
    *,
    ring: Ring | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008
) -> Reader:
    """Run `work` beside a follower, then end it; return what the reader has read."""

    async def run() -> Reader:
        kept = ring or Ring()
        follower, reader = LogFollower(kept, wanted, start=kept.end), Reader()
        pumping = asyncio.create_task(follower.pump(reader.send))
        await work(kept, follower, reader)
        follower.end()
        async with asyncio.timeout(PATIENCE):
            await pumping
        follower.close()
        return reader

    return asyncio.run(run())


def test_each_later_line_comes_once_and_the_end_is_told() -> None:
    """What was logged before is not among them."""
    ring = Ring()
    ring.append([line("before")])

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        for number in range(3):
            await asyncio.to_thread(ring.append, [line(str(number))])
            await reader.until(lambda: reader.read[-1:] == [str(number)])  # noqa: B023 - awaited at once
        ring.append([line("last")])

    reader = follow(work, ring=ring)

    assert reader.read == ["0", "1", "2", "last"]
    assert isinstance(reader.events[-1], StateEvent)
    assert reader.events[-1].state == "stopped"


def test_lines_that_are_not_wanted_are_not_sent() -> None:
    """Of another worker, say."""

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        ring.append([line("a", worker=1), line("b", worker=2), line("c", worker=1)])

    assert follow(work, wanted=Wanted(worker=2)).read == ["b"]


def test_a_reader_that_sleeps_learns_how_many_lines_it_has_missed() -> None:
    """Nothing is queued for it: what the ring still has comes after that."""

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        ring.append([line("first")])
        await reader.until(lambda: reader.read == ["first"])
        reader.awake.clear()
        for number in range(1000):
            ring.append([line(str(number))])
            await asyncio.sleep(0)
        reader.awake.set()

    read = follow(work, ring=Ring(lines=100)).read

    got = [each for each in read[1:] if not each.startswith("lost ")]
    lost = [int(each.removeprefix("lost ")) for each in read if each.startswith("lost ")]
    assert sum(lost) + len(got) == 1000
    assert sum(lost) >= 1000 - 100 - 2 * BATCH
    assert got[-100:] == [str(number) for number in range(900, 1000)]


def test_a_flood_of_lines_lets_others_have_their_turn() -> None:
    """A follower looks at some lines, then everybody else on the loop comes first."""
    turns = 0

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        nonlocal turns
        ring.append(line("x") for _ in range(100 * BATCH))
        while len(reader.read) < 100 * BATCH:
            turns += 1
            await asyncio.sleep(0)

    follow(work)

    assert turns >= 50


def test_a_probe_is_sent_at_once() -> None:
    """Only sending shows that a peer has gone."""

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        await asyncio.sleep(0)
        follower.probe()
        await reader.until(lambda: bool(reader.events))

    assert follow(work).read == ["lost 0"]


def test_the_largest_lines_fit_a_message() -> None:
    """Characters that JSON escapes take six bytes."""
    nasty = line("\0" * 300_000)

    async def work(ring: Ring, follower: LogFollower, reader: Reader) -> None:
        ring.append([nasty] * 20)

    events = follow(work, ring=Ring(size=1 << 30)).events

    sizes = [len(msgspec.json.encode(event)) for event in events]
    assert max(sizes) < MAX_MESSAGE - 1000
    kept = within([nasty] * 1000)
    assert 1 <= len(kept) < 1000
    assert len(msgspec.json.encode(kept)) < LARGEST_REPLY + 2000
