"""What a watch asks, look by look."""

import asyncio

from flaskd_ctl.errors import NotRunning, ParseError
from flaskd_ctl.live.watch import Watch
from tests.flaskd_ctl.live.scripted import Scripted


def watching(source: Scripted) -> Watch:
    return Watch(source, interval=1.0, changed=lambda: None)


def times(source: Scripted, method: str) -> int:
    return sum(asked == method for asked, _ in source.asked)


def test_the_caller_is_asked_about_once_and_again_when_the_instance_was_away() -> None:
    source = Scripted()

    async def looks() -> None:
        watch = watching(source)
        await watch.look()
        await watch.look()
        assert times(source, "describe") == 1
        source.away = NotRunning("shop is not running")
        await watch.look()
        assert watch.seen.away
        source.away = None
        await watch.look()

    asyncio.run(looks())
    assert times(source, "describe") == 2


def test_a_reply_of_another_shape_is_told_and_ends_nothing() -> None:
    """The others on the screen are watched all the same."""
    source = Scripted()
    source.answers["status"]["generation"] = []

    async def looks() -> None:
        watch = watching(source)
        error = await watch.look()
        assert isinstance(error, ParseError)
        assert "not a flaskd that I understand" in watch.seen.away
        source.answers["status"]["generation"] = 1
        assert await watch.look() is None

    asyncio.run(looks())


def test_after_a_reload_the_caller_may_what_the_new_settings_say() -> None:
    """A reload gives and takes roles."""
    source = Scripted(may=("status", "drain"), role="operator")

    async def looks() -> None:
        watch = watching(source)
        await watch.look()
        assert "drain" in watch.seen.may
        source.answers["describe"] = {"x-caller": {"role": "viewer", "may": ["status"]}}
        source.answers["status"]["generation"] += 1
        await watch.look()
        assert (watch.seen.role, watch.seen.may) == ("viewer", frozenset({"status"}))
        await watch.look()

    asyncio.run(looks())
    assert times(source, "describe") == 2
