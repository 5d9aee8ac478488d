"""Calls of the page: what is passed on, what is refused, and what is asked before a change."""

import asyncio
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flaskd_ctl.errors import Failed, NotPermitted
from tests.flaskd_ctl.web.served import PATIENCE, READS, Served, served, shop

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from flaskd_ctl.web.calls import LONGEST


def test_a_call_gives_the_result_and_its_text() -> None:
    watched, asked = shop()
    with served((watched, asked)) as web:
        answer = web.call("slow", {"limit": 5})
        assert answer.status == 200
        assert set(answer.json) == {"result", "text"}
    assert asked.asked == [("slow", {"limit": 5})]
    assert watched.asked == []


@pytest.mark.parametrize("method", ["drain", "reload", "scale", "kill", "profile", "set", "call", "gc"])
def test_without_allow_changes_nothing_is_changed(method: str) -> None:
    pair = shop()
    with served(pair) as web:
        refusal = web.call(method, {})
        assert (refusal.status, refusal.error) == (403, "read_only")
        assert "--allow-changes" in refusal.json["error"]["hint"]
    assert [] == pair[0].asked == pair[1].asked


def test_what_the_instance_refuses_is_passed_on() -> None:
    watched, asked = shop(may=READS, role="viewer")
    asked.fails["drain"] = NotPermitted("drain needs the role operator; you are viewer", hint="ask the owner")
    with served((watched, asked), allow_changes=True) as web:
        refusal = web.call("drain")
        assert refusal.status == 403
        assert refusal.json == {
            "error": {
                "name": "not_permitted",
                "message": "drain needs the role operator; you are viewer",
                "hint": "ask the owner",
            }
        }


def test_a_reload_that_fails_gives_its_traceback() -> None:
    watched, asked = shop()
    asked.fails["reload"] = Failed("worker 5 could not start", data={"traceback": "ModuleNotFoundError: x"})
    with served((watched, asked), allow_changes=True) as web:
        failure = web.call("reload")
        assert failure.status == 502
        assert failure.json["error"]["data"]["traceback"] == "ModuleNotFoundError: x"


def test_progress_of_a_change_is_on_the_stream_of_everybody() -> None:
    with served(shop(), allow_changes=True) as web, web.live() as stream:
        stream.next("look")
        assert web.call("reload").status == 200
        progress = stream.next("progress").data
        assert progress["method"] == "reload"
        assert progress["event"]["state"]


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"", 400, "parse_error"),
        (b"{", 400, "parse_error"),
        (b"\xff", 400, "parse_error"),
        (b"[]", 400, "invalid_request"),
        (b"{}", 400, "invalid_request"),
        (b'{"method": 1}', 400, "invalid_request"),
        (b'{"method": "nothing"}', 400, "unknown_method"),
        (b"[" * 60_000, 400, "parse_error"),
        (b'{"method": "slow", "params": {"limit": NaN}}', 400, "parse_error"),
        (b'{"method": "slow", "params": {"limit": 1e999}}', 400, "parse_error"),
        (b'{"method": "slow", "params": {"limit": ' + b"9" * 5000 + b"}}", 400, "parse_error"),
        (b'{"method": "status", "params": []}', 400, "invalid_params"),
        (b'{"method": "status", "params": null}', 400, "invalid_params"),
        (b'{"method": "events"}', 400, "invalid_params"),
        (b'{"method": "logs", "params": {"follow": true}}', 400, "invalid_params"),
        (b'{"method": "status", "x": "' + b"x" * LONGEST + b'"}', 413, "too_large"),
    ],
)
def test_what_is_no_call_is_refused_with_a_sentence(body: bytes, status: int, name: str) -> None:
    pair = shop()
    with served(pair, allow_changes=True) as web:
        refusal = web.ask("/api/instances/shop/call", method="POST", body=body, headers=web.own)
        assert (status, name) == (refusal.status, refusal.error)
        assert refusal.json["error"]["message"]
    assert [] == pair[0].asked == pair[1].asked


def test_a_form_is_no_call() -> None:
    with served(shop()) as web:
        headers = web.own | {"Content-Type": "text/plain"}
        refusal = web.call("status", headers=headers)
        assert (refusal.status, refusal.error) == (415, "invalid_request")


def test_a_wrong_method_is_refused() -> None:
    with served(shop()) as web:
        assert web.ask("/api/instances/shop/call").status == 405
        assert web.ask("/api/instances", method="POST", headers=web.own).status == 405


def changes(web: Served) -> dict[str, str | None]:
    """Return the changes that are offered, and the panels that they are for."""
    with web.live() as stream:
        look = stream.next("look", such=lambda data: data["answers"]).data
    return {each["name"]: each["panel"] for each in look["changes"]}


def test_changes_are_offered_as_the_role_and_the_state_allow() -> None:
    with served(shop(), allow_changes=True) as web:
        offered = changes(web)
        assert {"drain", "reload", "more", "fewer", "restart", "cancel"} == set(offered)
        assert (offered["drain"], offered["restart"], offered["cancel"]) == (None, "workers", "requests")
    with served(shop(), allow_changes=False) as web:
        assert changes(web) == {}
    with served(shop(may=READS, role="viewer"), allow_changes=True) as web:
        assert changes(web) == {}
    draining = shop()
    draining[0].answers["status"]["state"] = "draining"
    with served(draining, allow_changes=True) as web:
        assert "resume" in changes(web)
        assert "drain" not in changes(web)


@pytest.mark.parametrize(
    ("name", "query", "question", "method", "params"),
    [
        ("drain", "", "Take shop out of rotation?", "drain", {}),
        ("more", "", "Scale shop from 2 to 3 workers?", "scale", {"by": 1}),
        ("restart", "worker=2", "Restart worker 2 of shop?", "restart_worker", {"worker": 2}),
        ("cancel", "worker=3&id=17", "Cancel request 17, GET /delay/3?", "cancel", {"id": "17", "worker": 3}),
    ],
)
def test_the_question_is_the_one_of_top(
    name: str, query: str, question: str, method: str, params: dict[str, object]
) -> None:
    with served(shop(), allow_changes=True) as web:
        changes(web)
        change = web.ask(f"/api/instances/shop/changes/{name}?{query}").json
        assert (change["question"], change["method"], change["params"]) == (question, method, params)
        assert web.call(change["method"], change["params"]).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("resume", 409),
        ("restart", 409),
        ("restart?worker=99", 409),
        ("cancel?worker=3&id=18", 409),
        ("cancel?worker=x&id=17", 409),
        ("nothing", 404),
    ],
)
def test_a_change_that_does_not_apply_is_refused(path: str, status: int) -> None:
    with served(shop(), allow_changes=True) as web:
        changes(web)
        refusal = web.ask(f"/api/instances/shop/changes/{path}")
        assert refusal.status == status
        assert refusal.json["error"]["message"]


def test_a_call_ends_with_the_browsers_interest_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """A profile ends when nobody waits for it, as it does on Ctrl-C."""
    watched, asked = shop()
    begun, ended = threading.Event(), threading.Event()

    async def forever(method: str, params: object, on_progress: object = None) -> dict[str, object]:
        begun.set()
        try:
            await asyncio.Event().wait()
            return {}
        finally:
            ended.set()

    asked.follow = forever  # type: ignore[method-assign]
    with served((watched, asked), allow_changes=True) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
        body = b'{"method": "profile", "params": {"seconds": 600}}'
        connection.request("POST", "/api/instances/shop/call", body, web.own)
        assert begun.wait(PATIENCE)
        connection.close()
        assert ended.wait(PATIENCE)
        assert web.call("ping").status == 200
    assert caplog.text == ""


def test_a_slow_call_keeps_no_other_waiting() -> None:
    watched, asked = shop()
    begun, go_on = threading.Event(), asyncio.Event()
    answer = asked.call

    async def slow(method: str, params: dict[str, object] | None = None) -> dict[str, object]:
        if method == "stacks":
            begun.set()
            await go_on.wait()
        return await answer(method, params)

    asked.call = slow  # type: ignore[method-assign]
    with served((watched, asked)) as web, ThreadPoolExecutor(1) as threads:
        stacks = threads.submit(web.call, "stacks")
        assert begun.wait(PATIENCE)
        assert web.call("ping").status == 200
        web.soon(go_on.set)
        assert stacks.result(PATIENCE).status == 200


def test_a_bug_is_told_as_one_and_leaves_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    watched, asked = shop()
    asked.fails["slow"] = AssertionError("not expected")  # type: ignore[assignment]
    with served((watched, asked)) as web:
        told = web.call("slow")
        assert (told.status, told.error) == (500, "internal")
        assert b"not expected" not in told.body
        assert "Content-Security-Policy" in told.headers
    assert "AssertionError: not expected" in caplog.text
