"""What the page sees: the list of instances, and the stream of each."""

import time
from collections.abc import Callable

import pytest

from flaskd_ctl.errors import NotRunning, UnknownMethod
from tests.flaskd_ctl.web.served import PATIENCE, READS, served, shop

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from flaskd_ctl.web import stream as stream_module
from flaskd_ctl.web.api import MOST_STREAMS


def test_instances_are_listed_with_what_the_caller_may_do() -> None:
    web1, web2 = shop(label="web1", may=READS, role="viewer"), shop(label="web2")
    for one in web2:
        one.away = NotRunning("web2 is not running")
    with served(web1, web2) as web:
        listed = web.ask("/api/instances").json
        assert not listed["changes"]
        first, second = listed["instances"]
        assert (first["label"], first["state"], first["role"], first["away"]) == (
            "web1",
            "running",
            "viewer",
            "",
        )
        assert first["may"] == sorted(READS)
        assert (second["label"], second["state"], second["may"]) == ("web2", "away", [])
        assert second["away"] == "web2 is not running"


def test_an_instance_may_be_named_by_a_url() -> None:
    with served(shop(label="ssh://web1/shop")) as web, web.live("ssh:%2F%2Fweb1%2Fshop") as stream:
        assert stream.next("look").data["label"] == "ssh://web1/shop"


def test_an_unknown_instance_is_not_found() -> None:
    with served(shop()) as web:
        assert web.ask("/api/instances/other/live").status == 404
        refusal = web.call("status", label="other")
        assert (refusal.status, refusal.error) == (404, "not_found")


def test_a_stream_has_looks_events_and_the_log() -> None:
    with served(shop()) as web, web.live() as stream:
        look = stream.next("look", such=lambda data: data["answers"]).data
        assert set(look["answers"]) == {"status", "stats", "requests", "errors"}
        assert (look["state"], look["away"], look["role"]) == ("running", "", "admin")
        log = stream.next("log").data
        assert log["anew"]
        assert any("cannot pay" in line["message"] for line in log["lines"])


def test_a_stream_has_each_event_once_and_as_it_comes() -> None:
    watched, asked = shop()
    with served((watched, asked)) as web, web.live() as stream:
        assert stream.next("event").data["event"] == "incident"
        web.soon(lambda: watched.events.put_nowait({"event": "state", "state": "draining"}))
        assert stream.next("event").data == {"event": "state", "state": "draining"}


def test_a_browser_that_connects_again_gets_what_it_has_missed_and_no_more() -> None:
    watched, asked = shop()
    with served((watched, asked)) as web:
        with web.live() as first, web.live() as other:
            seen = first.next("event")
            first.next("log")
            first.close()
            web.soon(lambda: watched.events.put_nowait({"event": "later"}))
            other.next("event", such=lambda data: data["event"] == "later")
            with web.live(last=seen.id) as again:
                assert again.next("event").data == {"event": "later"}
            with web.live(query=f"?last={seen.id}") as by_hand:
                assert by_hand.next("event").data == {"event": "later"}
        with web.live(last="of-another-run") as anew:
            assert anew.next("event").data["event"] == "incident"


def test_an_instance_that_goes_away_is_said_to_be_away_and_found_again() -> None:
    watched, asked = shop()
    with served((watched, asked), allow_changes=True) as web, web.live() as stream:
        assert stream.next("look", such=lambda data: not data["away"]).data["changes"]
        watched.away = NotRunning("shop is not running (last stopped 14:02:11)")
        away = stream.next("look", such=lambda data: data["away"]).data
        assert away["away"] == "shop is not running (last stopped 14:02:11)"
        assert (away["state"], away["may"], away["changes"]) == ("away", [], [])
        watched.away = None
        assert stream.next("look", such=lambda data: not data["away"]).data["state"] == "running"


def test_a_command_that_an_old_instance_lacks_is_told_with_the_reason() -> None:
    watched, asked = shop()
    for method in ("errors", "events"):
        watched.fails[method] = UnknownMethod(
            f"there is no command `{method}`", hint="shop runs flaskd 0.1.0"
        )
    with served((watched, asked)) as web, web.live() as stream:
        look = stream.next("look", such=lambda data: len(data["refused"]) == 2).data
        assert look["refused"]["errors"] == "there is no command `errors`. Shop runs flaskd 0.1.0."
        assert "errors" not in look["answers"]
        assert "status" in look["answers"]


def test_an_instance_is_asked_only_while_somebody_looks() -> None:
    watched, asked = shop()
    with served((watched, asked)) as web:
        assert watched.asked == []
        with web.live() as one, web.live() as two:
            one.next("look")
            two.next("look")
        room = web.rooms["shop"]
        _until(lambda: room.viewers == 0)
        _until(lambda: watched.closed)
        count = len(watched.asked)
        web.ask("/")
        assert len(watched.asked) == count
        assert sum(method == "events" for method, _ in watched.asked) == 1  # both shared one


def test_streams_end_with_the_server() -> None:
    with served(shop()) as web, web.live() as stream:
        stream.next("look")
        web.end()
        stream.rest()


def test_the_number_of_streams_is_bounded() -> None:
    with served(shop()) as web:
        streams = [web.live() for _ in range(MOST_STREAMS)]
        for stream in streams:
            stream.next("look")
        with web.live() as refused:
            assert refused.status == 503
        streams.pop().close()
        _until(lambda: web.rooms["shop"].viewers < MOST_STREAMS)
        with web.live() as stream:
            assert stream.next("look")
        for stream in streams:
            stream.close()


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_reader_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not read must not pile up, and it must not keep the instance watched."""
    monkeypatch.setattr(stream_module, "SLOWEST", 0.3)
    watched, asked = shop()
    watched.answers["errors"]["padding"] = "x" * 1_000_000
    with served((watched, asked)) as web, web.live() as stream:
        stream.next("look")
        _until(lambda: web.rooms["shop"].viewers == 0)
        _until(lambda: watched.closed)


def test_a_watch_that_fails_is_logged_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    watched, asked = shop()
    with served((watched, asked)) as web, web.live() as stream:
        stream.next("look")
        watched.away = AssertionError("not expected")  # type: ignore[assignment]
        stream.rest()
        watched.away = None
        with web.live() as again:
            assert again.next("look", such=lambda data: data["answers"])
    assert "watching shop failed" in caplog.text
