"""`top` on a screen, driven by keys (Textual's pilot), with an instance that says what the test wants."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl.errors import NotRunning, UnknownMethod
from tests.flaskd_ctl.live.scripted import MIDDAY, Scripted, until
from tests.support.screen import screen_lines

textual = pytest.importorskip("textual")

from textual.pilot import Pilot  # noqa: E402

from flaskd_ctl.top.app import Top  # noqa: E402

SCREENS = Path(__file__).parent / "screens"
NARROW, WIDE = (80, 24), (160, 45)
ONE_LOOK = 600.0
"""An interval after which no test looks again, so that a screen is always the same."""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def show(
    test: Callable[[Top, Pilot[None]], Awaitable[None]],
    *sources: Scripted,
    size: tuple[int, int] = NARROW,
    interval: float = 0.1,
) -> None:
    """Run `top` in a terminal of that size until the test has ended."""

    shown_sources = sources or (Scripted(),)

    async def shown() -> None:
        app = Top(shown_sources, interval=interval)
        async with app.run_test(size=size) as pilot:
            await until(lambda: all(source.asked for source in shown_sources), "a look")
            await test(app, pilot)

    asyncio.run(shown())


async def sees(app: Top, text: str) -> list[str]:
    """Wait for a text on the screen, and return its lines."""
    await until(lambda: any(text in line for line in screen_lines(app)), text)
    return screen_lines(app)


async def same_as(app: Top, name: str, *, after: str) -> None:
    """Compare the screen with the one that is kept; KEEP_SCREENS=1 keeps it anew."""
    await sees(app, after)
    await sees(app, "Quit")
    kept = SCREENS / f"{name}.txt"
    if os.environ.get("KEEP_SCREENS"):
        await asyncio.sleep(1)
        kept.write_text("\n".join(screen_lines(app)) + "\n")
    expected = kept.read_text().splitlines()
    try:
        await until(lambda: screen_lines(app) == expected, name)
    except AssertionError:
        assert screen_lines(app) == expected


@pytest.mark.parametrize(("size", "name"), [(NARROW, "workers-80x24"), (WIDE, "all-160x45")])
def test_shows_the_instance(size: tuple[int, int], name: str) -> None:
    async def test(app: Top, _pilot: Pilot[None]) -> None:
        await same_as(app, name, after="Quit")

    show(test, size=size, interval=ONE_LOOK)


@pytest.mark.parametrize(
    ("key", "name", "after"),
    [
        ("2", "requests", "/delay/3"),
        ("3", "endpoints", "205 ms"),
        ("4", "errors", "OutOfStock"),
        ("5", "events", "hung"),
        ("6", "log", "cannot pay"),
        ("question_mark", "help", "leave"),
    ],
)
def test_shows_each_panel_in_a_small_terminal(key: str, name: str, after: str) -> None:
    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await same_as(app, f"{name}-80x24", after=after)

    show(test, interval=ONE_LOOK)


def test_three_keys_lead_from_a_high_p99_to_the_endpoints_stacks_and_out_of_rotation() -> None:
    source = Scripted()

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("3")
        await sees(app, "P99▼")
        await pilot.press("enter")
        await sees(app, "delay_response")
        await pilot.press("d")
        await sees(app, "Take shop out of rotation?")
        assert source.changes() == []
        await pilot.press("y")
        await until(lambda: source.changes() == [("drain", {})], "drain")
        await pilot.press("escape")
        await sees(app, "draining")

    show(test, source)
    assert ("requests", {"endpoint": "cart", "stacks": True}) in source.asked


@pytest.mark.parametrize(
    ("keys", "question", "change"),
    [
        (["d"], "Take shop out of rotation?", ("drain", {})),
        (["r"], "Reload shop?", ("reload", {})),
        (["plus"], "from 2 to 3 workers?", ("scale", {"by": 1})),
        (["minus"], "from 2 to 1 workers?", ("scale", {"by": -1})),
        (["down", "w"], "Restart worker", ("restart_worker", {"worker": 2})),
        (["2", "c"], "Cancel request 17", ("cancel", {"id": "17", "worker": 3})),
    ],
)
@pytest.mark.parametrize("answer", ["y", "n", "escape"])
def test_a_change_is_made_only_after_yes(
    keys: list[str], question: str, change: tuple[str, dict[str, object]], answer: str
) -> None:
    source = Scripted()

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await sees(app, "Quit")
        await pilot.press(*keys[:-1])
        if len(keys) > 1:
            await until(lambda: app.current.row is not None, "a row")
        await pilot.press(keys[-1])
        await sees(app, question)
        await pilot.press(answer)
        if answer == "y":
            await until(lambda: source.changes() == [change], str(change))
        else:
            await sees(app, "not done")
            assert source.changes() == []

    show(test, source)


def test_what_fails_is_said() -> None:
    source = Scripted()
    source.fails["reload"] = UnknownMethod("no worker could be started", hint="see its traceback")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("r")
        await sees(app, "Reload shop?")
        await pilot.press("y")
        await sees(app, "reload failed: no worker could be started. See its traceback.")

    show(test, source)


def test_a_viewer_can_change_nothing() -> None:
    source = Scripted(may=("status", "stats", "requests", "errors", "events", "logs"), role="viewer")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await sees(app, "you: viewer")
        await pilot.press("r", "d", "plus", "w")
        await pilot.pause()
        assert len(app.screen_stack) == 1

    show(test, source)
    assert source.changes() == []


def test_a_draining_instance_is_offered_resume() -> None:
    source = Scripted()
    source.answers["status"]["state"] = "draining"

    async def test(app: Top, pilot: Pilot[None]) -> None:
        lines = await sees(app, "u Resume")
        assert not any("d Drain" in line for line in lines)
        await pilot.press("u")
        await sees(app, "back into rotation?")
        await pilot.press("y")
        await until(lambda: source.changes() == [("resume", {})], "resume")

    show(test, source)


def test_an_instance_that_goes_away_is_said_to_be_away_and_found_again() -> None:
    source = Scripted()

    async def test(app: Top, _pilot: Pilot[None]) -> None:
        await sees(app, "running · ready")
        source.away = NotRunning("shop is not running (last stopped 14:02:11)")
        await sees(app, "AWAY")
        await sees(app, "shop is not running (last stopped 14:02:11); still trying")
        source.away = None
        await sees(app, "running · ready")

    show(test, source)


def test_an_instance_that_lacks_a_command_says_so_in_its_panel() -> None:
    source = Scripted()
    source.fails["errors"] = UnknownMethod("there is no command `errors`", hint="update shop")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await sees(app, "there is no command `errors`. Update shop.")
        await pilot.press("2")
        await sees(app, "/delay/3")

    show(test, source)


def test_the_cursor_stays_on_its_row() -> None:
    source = Scripted()
    second = source.answers["requests"]["requests"][0] | {"id": 18, "age": 0.5, "path": "/second"}
    source.answers["requests"]["requests"].append(second)

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await sees(app, "/second")
        await pilot.press("down")
        await until(lambda: (app.current.row or {}).get("id") == 18, "the second row")
        second["age"] = 9.0
        source.answers["requests"]["requests"] = [*source.answers["requests"]["requests"][:1], second]
        await sees(app, "9 s")
        assert (app.current.row or {}).get("id") == 18

    show(test, source)


def test_a_cursor_in_the_first_line_stays_there_and_one_below_stays_on_its_row() -> None:
    source = Scripted()

    def drained(at: float) -> dict[str, Any]:
        return {"event": "state", "at": at, "was": "running", "state": "draining", "by": None}

    async def test(app: Top, pilot: Pilot[None]) -> None:
        def at() -> float:
            return float((app.current.row or {}).get("at") or 0.0)

        async def happens(second: float) -> None:
            rows = app.current.row_count
            source.events.put_nowait(drained(MIDDAY + second))
            await until(lambda: app.current.row_count > rows, "the event")

        await pilot.press("5")
        for second in (1.0, 2.0):
            await happens(second)
            assert at() == MIDDAY + second
        await pilot.press("down")
        await until(lambda: at() == MIDDAY + 1.0, "the event before")
        await happens(3.0)
        assert at() == MIDDAY + 1.0

    show(test, source)


def test_filters_and_sorts() -> None:
    async def test(app: Top, pilot: Pilot[None]) -> None:
        await sees(app, "13901")
        await pilot.press("slash", *"13899", "enter")
        lines = await sees(app, "only with “13899”")
        assert not any("13901" in line for line in lines)
        await pilot.press("escape")
        await sees(app, "13901")
        await pilot.press("s")
        await sees(app, "PID▲")
        await pilot.press("S")
        await sees(app, "PID▼")
        assert (app.current.row or {}).get("pid") in {13899, 13901}

    show(test)


def test_a_terminal_that_is_too_small_says_what_is_needed() -> None:
    async def test(app: Top, pilot: Pilot[None]) -> None:
        await sees(app, "This terminal has 40 by 10 characters")
        await pilot.resize_terminal(*NARROW)
        await sees(app, "13901")

    show(test, size=(40, 10))


def test_several_instances_are_on_one_screen() -> None:
    web1, web2 = Scripted("web1"), Scripted("web2")
    web2.away = NotRunning("web2 is not running")

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await same_as(app, "several-80x24", after="away")
        await pilot.press("down")
        await sees(app, "web2 is not running")
        await pilot.press("up", "enter")
        await sees(app, "1 Workers ─")
        await sees(app, "13901")

    show(test, web1, web2, interval=ONE_LOOK)


@pytest.mark.parametrize("path", ["/[/[b]", "/[ @click=app.quit]x", "/[$x]", "/[B]"])
def test_a_path_is_no_markup_of_textual(path: str) -> None:
    """In the title of a request it would be hidden, act on a click, or end the program."""
    source = Scripted()
    source.answers["requests"]["requests"][0]["path"] = path

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await sees(app, path)
        await pilot.press("enter")
        await sees(app, f"GET {path}")

    show(test, source)


def test_text_from_outside_cannot_act_on_the_terminal() -> None:
    source = Scripted()
    source.answers["requests"]["requests"][0]["path"] = "/\x1b[2J[bold]x[/bold]"
    source.answers["status"]["last_failure"] = None

    async def test(app: Top, pilot: Pilot[None]) -> None:
        await pilot.press("2")
        lines = await sees(app, "[bold]x[/bold]")
        assert not any("\x1b" in line for line in lines)
        await pilot.press("enter")
        await sees(app, "[bold]x")

    show(test, source)
