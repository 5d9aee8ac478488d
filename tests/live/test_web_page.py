"""The page of `flaskd_ctl web` in a real browser, with a real instance: what one sees, and what one may do."""

import re
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Daemon, StartDaemon
from tests.support.keyed import Keyring, url_among
from tests.support.needs import requires
from tests.support.operating import client
from tests.support.web import APP, Reader, chromium, get, serving, shop

pytest.importorskip("starlette")
pytestmark = [pytest.mark.live, requires("chromium"), pytest.mark.timeout(240)]

__all__ = ["chromium", "shop"]


@pytest.fixture
def reader(chromium: Any) -> Iterator[Reader]:
    """Somebody who reads the page."""
    someone = Reader(chromium, viewport={"width": 1280, "height": 900})
    yield someone
    someone.leaves()


def ready(daemon: Daemon) -> bool:
    with client(daemon) as running:
        return running.status().ready


def test_three_clicks_from_an_alert_to_the_stacks_and_out_of_rotation(shop: Daemon, reader: Reader) -> None:
    """The slowest endpoint is a click away, its stacks with it; the second and the third click drain the instance."""
    get(f"{shop.url}/report/1")
    waits = threading.Thread(target=get, args=(f"{shop.url}/report/100",))
    waits.start()
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        slowest = page.get_by_role("region", name="Endpoints, last minute").get_by_role("link").first
        slowest.get_by_text("slow_report").wait_for()

        slowest.click()

        page.get_by_text("not held.wait(0.1)").first.wait_for()
        page.get_by_text("GET /report/100:").first.wait_for()
        assert ready(shop)

        page.get_by_role("button", name="Drain", exact=True).click()

        page.get_by_role("heading", name="Take shop out of rotation?").wait_for()
        assert ready(shop)

        page.get_by_role("dialog").get_by_role("button", name="Drain").click()

        page.locator("#outcome").get_by_text("draining").wait_for()
        assert not ready(shop)
        page.get_by_role("button", name="Resume").wait_for()
        assert page.get_by_role("button", name="Drain", exact=True).count() == 0
    get(f"{shop.url}/free")
    waits.join(60)


def test_a_no_changes_nothing(shop: Daemon, reader: Reader) -> None:
    """Escape, and Enter on the button that has the focus, mean no; then the keyboard is where it was."""
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        drain = page.get_by_role("button", name="Drain", exact=True)
        for no in ("Escape", "Enter"):
            drain.focus()
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Take shop out of rotation?").wait_for()
            assert page.evaluate("document.activeElement.textContent") == "No"
            page.keyboard.press(no)
            page.get_by_role("dialog").wait_for(state="hidden")
            assert page.evaluate("document.activeElement.textContent") == "Drain"
    assert ready(shop)
    with client(shop) as running:
        assert running.history() == []


def test_a_reload_that_fails_shows_its_traceback(shop: Daemon, reader: Reader, tmp_path: Path) -> None:
    """And what serves goes on; once the mistake is mended, a reload says how long it took."""
    (tmp_path / "watched.py").write_text(f"import no_such_module\n{APP}")
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        reader.answers("Reload")
        page.locator("#outcome").get_by_text("Reload failed").wait_for()
        shown = page.get_by_role("region", name="Traceback").inner_text()
        assert "import no_such_module" in shown
        assert shown.endswith("ModuleNotFoundError: No module named 'no_such_module'")
        assert ready(shop)

        (tmp_path / "watched.py").write_text(APP)
        reader.answers("Reload")

        page.locator("#outcome").get_by_text(re.compile(r"1 .*replaced")).wait_for()
        page.get_by_role("button", name="Close").click()
        assert page.locator("#outcome").inner_text() == ""


def test_workers_are_added_restarted_and_removed(shop: Daemon, reader: Reader) -> None:
    """What is asked names the numbers; the table follows."""
    with serving("--allow-changes") as url:
        reader.opens(url)
        page = reader.goes("workers")
        rows = page.get_by_role("region", name="Workers").get_by_role("row")
        page.get_by_role("button", name="Add a worker").click()
        page.get_by_role("heading", name="Scale shop from 1 to 2 workers?").wait_for()
        page.get_by_role("dialog").get_by_role("button", name="Add a worker").click()
        rows.nth(2).get_by_text("serving").wait_for()
        with client(shop) as running:
            assert running.status().wanted_workers == 2

        rows.nth(2).get_by_role("button", name="Restart worker 2").click()
        page.get_by_role("heading", name="Restart worker 2 of shop?").wait_for()
        page.get_by_role("dialog").get_by_role("button", name="Restart worker").click()
        rows.get_by_role("link", name="Worker 3").wait_for()

        reader.answers("Remove a worker")
        page.get_by_role("status").get_by_text("1 worker").wait_for()


def test_a_request_that_hangs_is_looked_at_and_cancelled(shop: Daemon, reader: Reader) -> None:
    """From the list to its stack, to its end; then the page says that it has ended."""
    waits = threading.Thread(target=get, args=(f"{shop.url}/report/100",))
    waits.start()
    with serving("--allow-changes") as url:
        reader.opens(url)
        page = reader.goes("requests")
        page.get_by_role("link", name="GET /report/100").click()
        page.get_by_text("not held.wait(0.1)").wait_for()
        page.locator("main").get_by_role("button", name="Cancel request").click()
        page.get_by_role("heading", name=", GET /report/100?").wait_for()
        page.get_by_role("dialog").get_by_role("button", name="Cancel request").click()
        page.get_by_role("status").get_by_text("cancelled request").wait_for()
        page.get_by_text("has ended", exact=True).wait_for()
    waits.join(60)
    assert not waits.is_alive()


def test_a_profile_becomes_a_flame_graph_that_one_can_zoom(
    shop: Daemon, reader: Reader, tmp_path: Path
) -> None:
    """By mouse and by keyboard; a search marks; the table has the same functions; the file that is saved opens again."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            get(f"{shop.url}/busy")

    asks = threading.Thread(target=ask)
    asks.start()
    try:
        with serving("--allow-changes") as url:
            reader.opens(url)
            page = reader.goes("profile")
            page.get_by_label("Seconds").fill("600")
            page.get_by_role("button", name="Start").click()
            page.get_by_role("button", name="Stop").click()
            page.get_by_text("Stopped: there is no profile.").wait_for()
            page.get_by_label("Seconds").fill("2")
            page.get_by_role("button", name="Start").click()
            page.get_by_role("link", name="Log", exact=True).click()  # it goes on
            page.get_by_role("heading", name="Log").wait_for()
            page.get_by_role("link", name="Endpoints", exact=True).click()
            page.get_by_role("link", name="busy").click()
            page.get_by_role("link", name="Profile this endpoint").click()
            assert page.get_by_role("combobox", name="Endpoint").input_value() == "busy"
            flames = page.get_by_role("group", name="Flame graph")
            own = flames.get_by_role(
                "button", name=re.compile(r"^add_up \(.*watched.py:\d+\), .* samples?, ")
            )
            own.wait_for()
            whole = flames.get_by_role("button", name=re.compile("^all, .*100.0 %"))

            own.click()

            assert wide(own) == pytest.approx(wide(whole), abs=2)
            page.keyboard.press("ArrowUp")
            assert page.evaluate("document.activeElement.textContent") == "busy"
            page.keyboard.press("Escape")
            assert page.evaluate("document.activeElement.textContent") == "all"

            page.get_by_role("searchbox", name=re.compile("Mark the calls")).fill("ADD_UP")
            page.get_by_text(re.compile(r"^\d+\.\d % of the samples are in such calls$")).wait_for()
            functions = page.get_by_role("region", name="Functions")
            functions.get_by_role("cell", name="add_up", exact=True).wait_for()

            with page.expect_download() as download:
                page.get_by_role("button", name="Save as collapsed text").click()
            saved = tmp_path / "saved.txt"
            download.value.save_as(saved)
            assert re.search(
                r"^worker 1 \(pid \d+\);.*;busy \(.*\);add_up \(.*\) \d+$", saved.read_text(), re.MULTILINE
            )
            page.get_by_text("Open a profile from a file").click()
            page.get_by_label("File", exact=True).set_input_files(saved)
            page.get_by_text("Opened saved.txt").wait_for()
            page.get_by_label("File", exact=True).set_input_files(tmp_path / "watched.py")
            page.get_by_text("watched.py is not a profile as collapsed text.").wait_for()
    finally:
        over.set()
        asks.join(60)


def wide(element: Any) -> float:
    return float(element.bounding_box()["width"])


def test_errors_lead_to_their_traceback_and_to_their_log(shop: Daemon, reader: Reader) -> None:
    with serving() as url:
        reader.opens(url)
        page = reader.goes("errors")
        page.get_by_role("link", name="ValueError: no such item").click()
        assert "ValueError: no such item" in page.get_by_role("region", name="Traceback").inner_text()
        page.get_by_role("term").get_by_text("X-Request-ID").wait_for()
        page.locator("dd a").last.click()
        page.get_by_role("heading", name=re.compile("Log of request ")).wait_for()
        page.get_by_text("Exception on /broken [GET]").wait_for()


def test_the_log_is_followed_filtered_and_bounded(shop: Daemon, reader: Reader) -> None:
    """At its end one sees what comes; where one reads further up, it stays; and the page does not grow without end."""
    with serving() as url:
        reader.opens(url)
        page = reader.goes("log")
        box = page.get_by_role("region", name="Log")
        lines = box.get_by_role("listitem")
        for _ in range(6):
            get(f"{shop.url}/chatter/99")
        get(f"{shop.url}/chatter/5")
        lines.filter(has_text="line 5 of 5").wait_for()
        assert 100 < lines.count() <= 500
        assert box.evaluate("(box) => box.scrollHeight - box.scrollTop - box.clientHeight") < 5
        box.evaluate("(box) => box.scrollTo(0, 0)")
        get(f"{shop.url}/chatter/7")
        lines.filter(has_text="line 7 of 7").wait_for(state="attached")
        assert lines.count() <= 500
        assert box.evaluate("(box) => box.scrollTop") < 5

        page.get_by_role("searchbox").fill("LINE 3 OF 7")
        assert [text.splitlines()[-1] for text in lines.all_inner_texts()] == ["watched: line 3 of 7"]
        page.get_by_label("Lowest level").select_option("error")
        page.get_by_text("No line fits.").wait_for()
        get(f"{shop.url}/broken")
        page.get_by_role("searchbox").fill("")
        lines.filter(has_text="Exception on /broken [GET]").last.wait_for()
        assert lines.filter(has_text=re.compile("warning")).count() == 0


def test_what_an_application_says_is_text(shop: Daemon, reader: Reader) -> None:
    """Markup in messages, in the log and in paths is shown as it is, and nothing of it happens."""
    hostile = "<img src=x onerror=document.title=1><a href=javascript:alert(1)>here</a>"
    get(f"{shop.url}/broken?{urllib.parse.urlencode({'why': hostile})}")
    with serving() as url:
        reader.opens(url)
        page = reader.goes("errors")
        page.get_by_role("link", name=f"ValueError: {hostile}").click()
        page.get_by_role("region", name="Traceback").get_by_text(hostile).wait_for()
        page.get_by_role("link", name="Log", exact=True).click()
        page.get_by_text("Exception on /broken [GET]").last.click()
        page.get_by_role("region", name="Log").get_by_text(hostile).wait_for()
        assert page.locator("main img, a[href^=javascript]").count() == 0
        assert page.title().startswith("shop running")


def test_an_instance_that_goes_away_is_found_again(
    shop: Daemon, reader: Reader, start_daemon: StartDaemon
) -> None:
    """It is said at the top; what was seen and typed stays; there is nothing to press; and all is well when it is back."""
    with serving("--allow-changes") as url:
        page = reader.opens(url)
        reader.goes("profile")
        page.get_by_label("Seconds").fill("42")
        with client(shop) as running:
            running.shutdown(grace=5)
        page.get_by_role("alert").get_by_text("shop is away: ").wait_for()
        assert page.get_by_role("button", name="Drain", exact=True).count() == 0
        again = start_daemon("watched:app", "--engine", "waitress")
        page.get_by_role("alert").wait_for(state="hidden")
        page.get_by_role("button", name="Drain", exact=True).wait_for()
        assert page.get_by_label("Seconds").input_value() == "42"

        with client(again) as running:
            running.shutdown(grace=5)
        page.get_by_role("alert").get_by_text("shop is away: ").wait_for()
        page.reload()  # also a page that is opened now says so
        page.get_by_role("alert").get_by_text("shop is away: ").wait_for()
        page.get_by_role("heading", name="Profile", exact=True).wait_for()


def test_without_allow_changes_there_is_nothing_to_press(shop: Daemon, reader: Reader) -> None:
    with serving() as url:
        page = reader.opens(url)
        page.get_by_text("you: admin").wait_for()
        for place in ("overview", "workers", "requests"):
            reader.goes(place)
            assert page.locator("button.change").count() == 0
        reader.goes("profile")
        page.get_by_text("start flaskd_ctl web with --allow-changes").wait_for()
        refused = page.evaluate(
            """async () => (await fetch("/api/instances/shop/call", {method: "POST", headers: {"Content-Type":
            "application/json"}, body: JSON.stringify({method: "drain", params: {}})})).status"""
        )
        assert refused == 403
    assert ready(shop)


def test_a_viewer_has_no_buttons_and_is_told_what_is_not_theirs(
    start_daemon: StartDaemon, reader: Reader, tmp_path: Path
) -> None:
    """Whatever `flaskd_ctl web` allows, the role decides; the panels that a viewer may see are there."""
    (tmp_path / "watched.py").write_text(APP)
    (tmp_path / "keys").mkdir()
    keys = Keyring(tmp_path / "keys")
    keys.let_in("anna")
    daemon = start_daemon("watched:app", *keys.options, "--viewers", "key:anna")
    get(f"{daemon.url}/fast")
    given = keys.given("anna", url_among(daemon.instance["endpoints"]))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    with serving("--allow-changes", *options) as url:
        page = reader.opens(url)
        page.get_by_text("you: viewer").wait_for()
        page.get_by_role("link", name="fast").wait_for()
        assert page.locator("button.change").count() == 0
        page.get_by_role("link", name="Log", exact=True).click()
        page.get_by_text("logs needs operator").wait_for()
        page.get_by_role("link", name="Profile", exact=True).click()
        page.get_by_text("Your role here is viewer, which may not take a profile.").wait_for()
    assert ready(daemon)


def test_a_url_that_was_stolen_is_worth_nothing(shop: Daemon, reader: Reader, chromium: Any) -> None:
    """Who has the URL but not the cookie sees how to get a new URL, and no instance."""
    with serving("--allow-changes") as url:
        reader.opens(url)
        thief = chromium.new_context()
        for stolen in (url, url.partition("?")[0]):
            page = thief.new_page()
            answer = page.goto(stolen)
            assert answer.status == 403
            assert "flaskd_ctl web" in page.inner_text("body")
            assert "shop" not in page.inner_text("body")
        thief.close()
        reader.page.reload()  # the reader goes on
        reader.page.get_by_role("heading", name="shop", level=1).wait_for()


def test_a_session_that_has_gone_says_how_to_get_a_new_one(shop: Daemon, reader: Reader) -> None:
    """The cookie is away, or `flaskd_ctl web` has ended: two different sentences."""
    with serving() as url:
        page = reader.opens(url)
        reader.context.clear_cookies()
        page.get_by_role("alert").get_by_text("flaskd_ctl web").wait_for()
    page.get_by_role("alert").get_by_text("flaskd_ctl web does not answer").wait_for()
    reader.wrong = [text for text in reader.wrong if "ERR_" not in text and "MIME" not in text]


def test_a_page_from_elsewhere_can_neither_read_nor_change(shop: Daemon, reader: Reader) -> None:
    """The browser sends no cookie along, and the server would not accept the origin; nothing has happened."""
    with serving("--allow-changes") as url:
        reader.opens(url)
        base = url.partition("/?")[0]
        other = reader.context.new_page()
        other.goto(shop.url + "/fast")  # the same host, another port
        told = other.evaluate(
            """async (base) => {
                const post = {method: "POST", credentials: "include", body: '{"method": "drain", "params": {}}'};
                const tried = [];
                for (const [path, options] of [
                    ["/api/instances", {credentials: "include"}],
                    ["/api/instances/shop/call", {...post, headers: {"Content-Type": "application/json"}}],
                    ["/api/instances/shop/call", {...post, mode: "no-cors"}],
                ]) {
                    try {
                        const answer = await fetch(base + path, options);
                        tried.push([answer.type, answer.status, await answer.text()]);
                    } catch (error) {
                        tried.push(String(error));
                    }
                }
                return tried;
            }""",
            base,
        )
        assert [str(one) for one in told if "shop" in str(one)] == []
        other.close()
        reader.wrong.clear()
    assert ready(shop)
    with client(shop) as running:
        assert running.history() == []


def test_a_command_that_an_older_instance_lacks_empties_one_panel_only(shop: Daemon, reader: Reader) -> None:
    """It says what is missing there, and the other panels of the view go on. The refusal is played to the page."""
    refusal = {
        "error": {
            "name": "unknown_method",
            "message": "shop does not know incidents",
            "hint": "Upgrade flaskd.",
        }
    }

    def answer(route: Any) -> None:
        if '"incidents"' in (route.request.post_data or ""):
            route.fulfill(status=502, json=refusal)
        else:
            route.continue_()

    with serving() as url:
        page = reader.opens(url)
        page.route("**/call", answer)
        reader.goes("events")
        page.get_by_text("shop does not know incidents").wait_for()
        page.get_by_text("Upgrade flaskd.").wait_for()
        page.get_by_text("The audit log is empty.").wait_for()


def test_updates_wait_while_they_are_paused(shop: Daemon, reader: Reader) -> None:
    """What moves can be stopped (WCAG 2.2.2), and goes on with what is known then."""
    with serving() as url:
        page = reader.opens(url)
        reader.goes("errors")
        count = page.get_by_role("region", name="Errors").get_by_role("row").nth(1).get_by_role("cell").nth(1)
        assert count.inner_text() == "1"
        page.get_by_role("button", name="Pause").click()
        get(f"{shop.url}/broken")
        with page.expect_response("**/api/instances"):  # a few looks later
            pass
        assert count.inner_text() == "1"
        page.get_by_role("button", name="Pause").click()
        count.get_by_text("2").wait_for()


def test_a_page_that_nobody_looks_at_listens_no_more_and_says_so(shop: Daemon, reader: Reader) -> None:
    """A hidden tab has no stream after a while. When one looks again, it goes on, and nothing comes twice."""
    hidden = "Object.defineProperty(document, 'hidden', {get: () => window.away === true});"
    turn = "(away) => { window.away = away; document.dispatchEvent(new Event('visibilitychange')); }"
    reader.page.add_init_script(hidden)
    reader.page.clock.install()
    with serving() as url, client(shop) as running:
        page = reader.opens(url)
        reader.goes("events")
        running.restart_worker(1)
        once = page.get_by_role("cell", name="worker 2 is serving (restart)")
        once.wait_for()
        page.evaluate(turn, True)
        with page.expect_event("requestfailed", lambda request: request.url.endswith("/live")):
            page.clock.fast_forward(31_000)
        page.evaluate(turn, False)
        page.get_by_role("cell", name="not watched since").wait_for()
        while not page.get_by_role("cell", name="running → draining").count():  # until it listens
            running.drain()
            running.resume()
        assert once.count() == 1


def test_several_instances_are_switched_between(
    shop: Daemon, reader: Reader, start_daemon: StartDaemon
) -> None:
    """Each has a link with its state; the view is of the one that is marked."""
    start_daemon("watched:app", name="blog")
    with serving() as url:
        page = reader.opens(url)
        links = page.get_by_role("navigation", name="Instances").get_by_role("link")
        assert [text.split()[0] for text in links.all_inner_texts()] == ["blog", "shop"]
        links.filter(has_text="shop").click()
        page.get_by_role("heading", name="shop", level=1).wait_for()
        page.get_by_role("link", name="fast").wait_for()
        links.filter(has_text="blog").click()
        page.get_by_role("heading", name="blog", level=1).wait_for()
        page.get_by_text("No request has ended.").wait_for()
        assert page.locator("#instances [aria-current]").inner_text().startswith("blog")
