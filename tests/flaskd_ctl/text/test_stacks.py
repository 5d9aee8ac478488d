"""What threads do, as a person reads it."""

from typing import Any

from flaskd_ctl.text import results
from tests.flaskd_ctl.fake import golden

SITE = "/srv/shop/.venv/lib/python3.13/site-packages"


def test_the_application_is_read_first() -> None:
    """The request, what it does with the source, how much of the server is around it; then what waits."""
    assert results.as_text("stacks", {"workers": golden("stacks")["workers"][:1]}).splitlines() == [
        "worker 3 (pid 4251): 2 threads",
        "",
        "  GET /delay/3: 1.5 s, endpoint delay_response, request 17 (7f3a9c21d0e4-17), thread flaskd-http-2",
        "    delay_response at /srv/shop/shop.py:12",
        "      time.sleep(delay)",
        f"    Flask.dispatch_request at {SITE}/flask/app.py:902",
        "    … 4 older calls",
        "",
        "  flaskd's own:",
        f"    flaskd-channel: WorkerChannel.receive at {SITE}/flaskd/channel/worker_end.py:50",
    ]


def test_what_is_known_of_a_worker_that_does_not_reply_is_told() -> None:
    """Where it is from, and how much is missing."""
    text = results.as_text("stacks", golden("stacks"))

    assert (
        "\nworker 4 (pid 4252): 3 threads\n  (the worker did not reply within 1 s; this is from its signal"
        in text
    )
    assert "\n  2 threads left out: the reply would be too long\n" in text
    assert text.endswith(
        "\nworker 5 (pid 4253): did not reply within 1 s; it is stopped (as by SIGSTOP), so it cannot write its stacks"
    )


def test_threads_at_the_same_place_are_counted() -> None:
    """With their requests above the stack that they share; of many names, some."""
    (stack, _) = golden("stacks")["workers"][0]["stacks"]
    own = {
        "kind": "application",
        "threads": [{"id": n, "name": f"poll-{n}"} for n in range(12)],
        "frames": [],
    }
    worker: dict[str, Any] = {
        "worker": 0,
        "pid": 7,
        "stacks": [stack | {"threads": stack["threads"] * 14}, own],
    }

    lines = results.as_text("stacks", {"workers": [worker]}).splitlines()

    assert lines[0] == "the process (pid 7): 26 threads"
    assert lines[16] == "  14 threads at the same place:"
    names = ", ".join(f"poll-{n}" for n in range(8))
    assert f"  the application's own: 12 threads {names} and 4 more" in lines


def test_requests_are_a_table_with_their_stacks_below() -> None:
    """And it says how many did not fit."""
    text = results.as_text("requests", golden("requests") | {"left_out": 3})

    assert text.splitlines()[0].split() == [
        "ID",
        "WORKER",
        "AGE",
        "METHOD",
        "PATH",
        "ENDPOINT",
        "CLIENT",
        "THREAD",
    ]
    assert "and 3 newer requests: narrow it down with --worker, --path or --endpoint" in text
    assert "    delay_response at /srv/shop/shop.py:12\n" in text


def test_no_text_of_a_worker_reaches_the_terminal_as_it_is() -> None:
    """A name with a line end would be a line of its own."""
    bad = "\x1b[2J\nworker 9 (pid 9): all is well"
    frame = {"function": bad, "file": bad, "line": 1, "source": bad}
    request = {"method": bad, "path": bad, "age": 1.0, "endpoint": bad, "request_id": bad, "thread": bad}
    stacks = [
        {"kind": kind, "threads": [{"id": 1, "name": bad, "request": request}], "frames": [frame]}
        for kind in ("request", "application", "server")
    ]
    worker = {"worker": 1, "pid": 1, "note": bad, "stacks": stacks}

    text = results.as_text("stacks", {"workers": [worker, {"worker": 1, "pid": 1, "error": "no"}]})

    assert text.replace("\n", "").isprintable()
    assert not any(line.startswith("worker 9") for line in text.splitlines())


def test_fields_may_be_missing() -> None:
    """The daemon may be of another version."""
    assert results.as_text("stacks", {}) == "no worker"
    assert results.as_text("stacks", {"workers": [{"worker": 1, "pid": 2, "stacks": [{}]}]})
