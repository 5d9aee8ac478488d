"""The page of `flaskd_ctl web` for everybody: without a mouse, with a screen reader, on a small screen, in the dark."""

import threading
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from flaskd_ctl.contract.times import fine_span, span
from flaskd_ctl.text.profiles import collapsed
from tests.flaskd_ctl.fake import golden
from tests.support import browser
from tests.support.daemons import Daemon, StartDaemon
from tests.support.needs import requires
from tests.support.operating import client
from tests.support.web import APP, Reader, chromium, get, serving, shop

pytest.importorskip("starlette")
pytestmark = [pytest.mark.live, requires("chromium", "npm"), pytest.mark.timeout(300)]

__all__ = ["chromium", "shop"]

LISTS = [
    "overview",
    "endpoints",
    "requests",
    "workers",
    "errors",
    "slow",
    "routes",
    "events",
    "log",
    "profile",
    "help",
]


@pytest.fixture
def full(start_daemon: StartDaemon, tmp_path: Path) -> Iterator[Daemon]:
    """An instance with something in each of its lists, also a request in flight and an incident."""
    (tmp_path / "watched.py").write_text(APP)
    daemon = start_daemon("watched:app", "--engine", "waitress", "--threads", "4", "--workers", "2")
    for path in ("fast", "busy", "broken", "no-such-page", "report/1"):
        get(f"{daemon.url}/{path}")
    (tmp_path / "watched.py").write_text(f"import no_such_module\n{APP}")
    with client(daemon) as running, pytest.raises(Exception, match="no_such_module"):
        running.reload()
    (tmp_path / "watched.py").write_text(APP)
    waits = threading.Thread(target=get, args=(f"{daemon.url}/report/200",))
    waits.start()
    yield daemon
    with client(daemon) as running:
        running.shutdown(grace=0)
    waits.join(60)


def test_what_is_installed_for_the_browser_hides_nothing_of_the_environment() -> None:
    """Other tests of this process look packages up, too: what httpbin needs, for one."""
    before = [(each.name, each.version) for each in metadata.distributions()]
    try:
        browser.playwright()
    except browser.NotInstalledError as error:
        pytest.skip(str(error))

    found = {name: metadata.version(name) for name, _ in before}

    assert found == dict(reversed(before))


def places(daemon: Daemon) -> list[tuple[str, ...]]:
    """Name every view, with what it needs."""
    with client(daemon) as running:
        (request,) = running.requests()
        (error,) = running.errors()
        incident = running.incidents()[-1]
    return [
        *((name,) for name in LISTS),
        ("endpoint", "slow_report"),
        ("request", str(request.worker), str(request.id)),
        ("worker", str(request.worker)),
        ("error", error.id),
        ("incident", str(incident.id)),
        ("log", error.request_id),
    ]


def settled(page: Any, title: str) -> None:
    """Wait until a view has what it asks for."""
    page.locator("main h2", has_text=title).wait_for()
    page.locator("main [aria-busy]").first.wait_for(state="detached")


ALL_RULES = "rules: {'target-size': {enabled: true}}"
TITLES = {"requests": "Requests in flight", "slow": "Slow requests", "endpoint": "Endpoint", "help": "Help"}


def violations(page: Any, *, colours_only: bool = False) -> list[str]:
    """Ask axe-core, with what WCAG 2.2 AA adds to its own rules."""
    rules = "runOnly: ['color-contrast', 'link-in-text-block']" if colours_only else ALL_RULES
    result = page.evaluate(f"axe.run(document, {{{rules}}})")
    return [
        f"{one['id']}: {one['help']}: {node['target']}"
        for one in result["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_view(full: Daemon, chromium: Any, theme: str) -> None:
    """Names, roles, contrast, headings, landmarks; also of the question and of a profile. A theme has colours only."""
    reader = Reader(chromium, viewport={"width": 1280, "height": 900}, color_scheme=theme)
    found: dict[str, list[str]] = {}
    looks = partial(violations, colours_only=theme == "dark")
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is (theme == "dark")
        page.evaluate(browser.axe())
        for place in places(full):
            reader.goes(*place)
            settled(page, TITLES.get(place[0], place[0].capitalize()))
            found["/".join(place)] = looks(page)
            page.set_viewport_size({"width": 360, "height": 740})
            found["/".join(place) + " on a phone"] = looks(page)
            page.set_viewport_size({"width": 1280, "height": 900})
        reader.goes("overview")
        for summary in page.locator("main summary").all():
            summary.click()
        found["charts as tables"] = looks(page)
        page.get_by_role("button", name="Reload").click()
        page.get_by_role("dialog").wait_for()
        found["question"] = looks(page)
        page.keyboard.press("Escape")
        reader.goes("profile")
        page.get_by_label("Seconds").fill("1")
        page.get_by_role("button", name="Start").click()
        page.get_by_role("group", name="Flame graph").wait_for()
        found["flame graph"] = looks(page)
        reader.leaves()
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


MEASURED = """() => {
    const root = document.documentElement;
    const cut = [...document.querySelectorAll("h1, h2, h3, dt, dd, p, li, th, td, a, button, label")]
        .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 1)
        .filter((one) => getComputedStyle(one).display !== "inline")
        .map((one) => one.textContent);
    const boxes = [...document.querySelectorAll(".panel, .tile")].map((one) => one.getBoundingClientRect());
    const over = boxes.filter((one, number) => boxes.slice(number + 1).some((other) =>
        one.left < other.right - 1 && other.left < one.right - 1 &&
        one.top < other.bottom - 1 && other.top < one.bottom - 1));
    return [root.scrollWidth - root.clientWidth, cut, over.length];
}"""
"""How much wider than the screen a page is, which of its texts are cut off, and how many of its panels overlap."""


def test_nothing_is_wider_than_the_screen(full: Daemon, chromium: Any) -> None:
    """The page does not scroll sideways, no text is cut off, and no two panels overlap, on any view, phone or wide."""
    reader = Reader(chromium)
    wrong = {}
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        for place in places(full):
            reader.goes(*place)
            settled(page, TITLES.get(place[0], place[0].capitalize()))
            for width in (360, 768, 1280, 1920):
                page.set_viewport_size({"width": width, "height": 800})
                found = page.evaluate(MEASURED)
                if found != [0, [], 0]:
                    wrong["/".join(place), width] = found
        reader.leaves()
    assert wrong == {}


def test_a_small_screen_needs_no_table_to_scroll(full: Daemon, chromium: Any) -> None:
    """At 360 pixels the columns that matter fit; what is left out is behind the row."""
    reader = Reader(chromium, viewport={"width": 360, "height": 800})
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        for name in ("endpoints", "requests", "workers", "errors", "slow", "routes", "events"):
            reader.goes(name)
            settled(page, TITLES.get(name, name.capitalize()))
            widths = "(all) => all.map((one) => one.scrollWidth - one.clientWidth)"
            assert set(page.locator("main .scroll").evaluate_all(widths)) <= {0}, name
        reader.leaves()


def test_everything_can_be_reached_with_the_keyboard(full: Daemon, chromium: Any) -> None:
    """Tab goes through the page in the order in which it is read, the first Tab can skip to the content, and focus is seen."""
    reader = Reader(chromium, viewport={"width": 1280, "height": 900})
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        focused = "document.activeElement.textContent.trim()"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == "Requests"  # the first tile
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        page.locator("dt:focus", has_text="Requests (per second)").wait_for()  # what it means
        page.go_back()
        page.locator("h2:focus", has_text="Overview").wait_for()

        page.reload()
        page.get_by_role("link", name="slow_report").wait_for()
        reached = []
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(focused))
        order = ["Pause", "Drain", "Overview", "Help", "p99", "slow_report"]
        assert [text for text in order if text not in reached] == []
        assert sorted(order, key=reached.index) == order
        reader.leaves()


def test_a_table_is_sorted_and_filtered_with_the_keyboard(shop: Daemon, chromium: Any) -> None:
    """aria-sort says how; what is unknown comes last either way; a filter says that nothing fits."""
    reader = Reader(chromium)
    with serving() as url:
        reader.opens(url)
        page = reader.goes("endpoints")
        names = page.get_by_role("region", name="Endpoints, last minute").locator("tbody tr td:first-child")
        names.nth(3).wait_for()
        head = page.get_by_role("columnheader", name="Endpoint")
        assert page.get_by_role("columnheader", name="p99").get_attribute("aria-sort") == "descending"
        head.get_by_role("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert names.all_inner_texts() == ["(no route)", "broken", "busy", "fast"]
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "descending"
        assert names.all_inner_texts() == ["fast", "busy", "broken", "(no route)"]
        page.get_by_role("searchbox").fill("B")
        assert names.all_inner_texts() == ["busy", "broken"]
        page.get_by_role("searchbox").fill("zzz")
        page.get_by_text("No row contains “zzz”.").wait_for()
        reader.leaves()


def test_the_theme_is_the_systems_until_one_chooses(shop: Daemon, chromium: Any) -> None:
    """The choice is kept in the browser, also over a reload."""
    reader = Reader(chromium, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    with serving() as url:
        page = reader.opens(url)
        dark = page.evaluate(ground)
        page.get_by_role("button", name="Dark", pressed=True).click()
        light = page.evaluate(ground)
        assert dark != light
        page.reload()
        page.get_by_role("button", name="Dark", pressed=False).wait_for()
        assert page.evaluate(ground) == light
        reader.leaves()


def test_a_change_of_state_is_read_out_and_numbers_are_not(shop: Daemon, chromium: Any) -> None:
    """Live regions say what somebody else has done to the instance, once; the numbers are in none."""
    reader = Reader(chromium)
    with serving() as url, client(shop) as running:
        page = reader.opens(url)
        page.get_by_role("link", name="fast").wait_for()
        assert "".join(page.get_by_role("status").all_text_contents()) == ""
        running.drain()
        page.get_by_role("status").get_by_text("shop is draining.").wait_for(state="attached")
        assert page.locator("main [aria-live], main [role=status], main [role=alert]").count() == 0
        reader.leaves()


def test_charts_have_axes_units_and_a_table(shop: Daemon, chromium: Any) -> None:
    """What is drawn can be read too: the newest step first, with the values that the legend has."""
    reader = Reader(chromium, viewport={"width": 1280, "height": 900})
    with serving() as url:
        page = reader.opens(url)
        for title in ("Rate", "Latency", "Time in the queue"):
            chart = page.get_by_role("figure").filter(has=page.get_by_role("heading", name=title))
            chart.locator("svg.chart .dot, svg.chart .line").first.wait_for(state="attached")
            assert "last hour" in chart.get_by_role("img").get_attribute("aria-label")
            texts = chart.locator("svg.chart .axis").all_text_contents()
            assert sum(":" in text for text in texts) >= 2
            chart.get_by_text("Show as a table").click()
            cells = chart.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
            assert cells == chart.locator(".legend .value").all_inner_texts()
        reader.leaves()


def test_numbers_are_written_as_in_the_terminal(shop: Daemon, chromium: Any) -> None:
    """One duration looks the same on the page, in `top` and in `flaskd_ctl stats`; so does a profile as collapsed text."""
    reader = Reader(chromium)
    spans = [
        0.0,
        0.0004,
        0.00049,
        0.05,
        0.0994,
        0.0995,
        0.42,
        0.9994,
        0.9996,
        1.0,
        1.05,
        9.94,
        9.96,
        12.3,
        99.9,
        100.0,
        119.4,
    ]
    spans += [119.6, 200.0, 3599.0, 3600.0, 18_120.0, 86_399.0, 86_400.0, 183_600.0]
    with serving() as url:
        page = reader.opens(url)
        both = "(seconds) => import('/page/units.js').then(({fine, span}) => seconds.map((each) => [fine(each), span(each)]))"
        told = page.evaluate(both, spans)
        assert told == [[fine_span(each), span(each)] for each in spans]
        result = golden("profile")
        text = page.evaluate(
            "(result) => import('/page/collapsed.js').then(({collapsed}) => collapsed(result))", result
        )
        assert text == collapsed(result)
        reader.leaves()
