"""One command for several targets: who is asked when, what is shown, and the exit code of the whole."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flaskd_ctl.cli import actions, fanout
from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.fanout import Outcome, Report, combined
from flaskd_ctl.cli.screen import Screen
from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.fake import CUT, PATIENCE, Call, Fake, golden, state_event

BOTH = ("-t", "one", "-t", "two")
THREE = (*BOTH, "-t", "three")
READY = golden("status") | {"state": "running", "ready": True, "process_exits": False}


@pytest.fixture
def fakes(start_fake: StartFake) -> list[Fake]:
    """Three daemons that are ready and take orders."""
    made = [start_fake(name) for name in ("one", "two", "three")]
    for one in made:
        one.on("status", lambda call: call.reply(READY))
    return made


def asked(fake: Fake) -> list[str]:
    return [call.method for call in fake.calls]


# --- what is shown ---


def test_status_is_a_table_with_a_line_for_each(fakes: list[Fake], ctl: Ctl) -> None:
    code, out, err = ctl(*BOTH, "status")

    head, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split()[:3] == ["TARGET", "STATE", "READY"]
    assert [line.split()[:3] for line in lines] == [["one", "running", "yes"], ["two", "running", "yes"]]


def test_json_is_one_object_keyed_by_target(fakes: list[Fake], ctl: Ctl) -> None:
    """Each with the exit code it would have had alone, and the result or the error."""
    fakes[1].on("status", lambda call: call.refuse("not_permitted", "you are a stranger", code=-32001))

    code, out, err = ctl("--json", *BOTH, "-t", "nobody", "status")

    told = json.loads(out)
    assert (code, err) == (7, "")
    assert list(told) == ["one", "two", "nobody"]
    assert told["one"] == {"exit": 0, "result": READY}
    assert (told["two"]["exit"], told["two"]["error"]["name"]) == (4, "not_permitted")
    assert (told["nobody"]["exit"], told["nobody"]["error"]["name"]) == (3, "not_running")


def test_what_failed_is_a_word_in_the_table_and_a_sentence_on_stderr(fakes: list[Fake], ctl: Ctl) -> None:
    code, out, err = ctl("-t", "one", "-t", "nobody", "ping")

    assert code == 7
    assert out.splitlines()[2].split()[:3] == ["nobody", "not", "running"]
    assert "cannot reach nobody: nothing listens at" in err
    assert err.endswith("done: one; failed: nobody\n")


def test_longer_answers_are_shown_in_the_order_asked_for_under_their_labels(
    fakes: list[Fake], ctl: Ctl
) -> None:
    """However long each takes: the first one answers last here."""
    second_answered = threading.Event()

    def late(call: Call) -> None:
        assert second_answered.wait(PATIENCE)
        call.reply(golden("workers"))

    def soon(call: Call) -> None:
        call.reply(golden("workers"))
        second_answered.set()

    fakes[0].on("workers", late)
    fakes[1].on("workers", soon)

    code, out, _ = ctl(*BOTH, "workers")

    names = [line.partition(":")[0] for line in out.splitlines()]
    assert code == 0
    assert names == sorted(names)
    assert set(names) == {"one", "two"}


def test_events_of_all_come_as_they_happen(fakes: list[Fake], ctl: Ctl) -> None:
    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("running", "stopping"))
        call.note(state_event("stopping", "stopped"))

    for fake in fakes:
        fake.on("events", tell)

    code, out, _ = ctl(*BOTH, "events", "--json")

    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert sorted(next(iter(one)) for one in told) == ["one", "one", "two", "two"]
    assert [one["one"]["state"] for one in told if "one" in one] == ["stopping", "stopped"]


def test_lines_of_all_logs_come_as_they_are_written(fakes: list[Fake], ctl: Ctl) -> None:
    """`logs --follow` does not wait for an end that may never come."""
    line = golden("logs")["lines"][0]

    def tell(call: Call) -> None:
        call.reply(golden("logs") | {"lines": [line | {"message": "first"}]})
        call.note({"event": "log", "lines": [line | {"message": "second"}]})
        call.note(state_event("stopping", "stopped"))

    for fake in fakes:
        fake.on("logs", tell)

    code, out, _ = ctl(*BOTH, "logs", "--follow", "--json")

    told = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert sorted(next(iter(one)) for one in told) == ["one", "one", "two", "two"]
    assert [one["two"]["message"] for one in told if "two" in one] == ["first", "second"]


def test_pages_of_all_come_again_and_again(
    fakes: list[Fake], ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a target can be asked no more."""
    monkeypatch.setattr(actions, "WATCH_PAUSE", 0.01)
    for fake in fakes:
        replies = iter([golden("stats")] * 2)

        def tell(call: Call, replies: Iterator[Any] = replies) -> None:
            if (page := next(replies, None)) is None:
                call.refuse("wrong_state", "over")
            else:
                call.reply(page)

        fake.on("stats", tell)

    code, out, _ = ctl(*BOTH, "stats", "--watch")

    pages = [line.partition(": since")[0] for line in out.splitlines() if ": since" in line]
    assert (code, sorted(pages)) == (1, ["one", "one", "two", "two"])


# --- who is asked when ---


def test_a_question_goes_to_all_at_once(fakes: list[Fake], ctl: Ctl) -> None:
    """Nobody is answered before all have been asked."""
    all_asked = threading.Barrier(3)

    def together(call: Call) -> None:
        all_asked.wait(PATIENCE)
        call.reply(golden("ping"))

    for fake in fakes:
        fake.on("ping", together)

    assert ctl(*THREE, "ping").code == 0


class Watchman:
    """Notes how many reloads are under way at once, and in which order they began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self.most = 0
        self.order: list[str] = []

    def reload(self, call: Call) -> None:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self.order.append(call.fake.place.name)
        call.steps()
        with self._lock:
            self._under_way -= 1
        call.reply(golden("reload"))


def test_a_change_goes_through_them_one_by_one(fakes: list[Fake], ctl: Ctl) -> None:
    watchman = Watchman()
    for fake in fakes:
        fake.on("reload", watchman.reload)

    code, out, err = ctl(*THREE, "reload")

    assert (code, err) == (0, "")
    assert (watchman.order, watchman.most) == (["one", "two", "three"], 1)
    assert [line.split(":")[0] for line in out.splitlines() if "reloaded" in line] == ["one", "two", "three"]


def test_max_parallel_lets_so_many_change_at_once(fakes: list[Fake], ctl: Ctl) -> None:
    two_at_once = threading.Barrier(2)

    def together(call: Call) -> None:
        two_at_once.wait(PATIENCE)
        call.reply(golden("reload"))

    for fake in fakes[:2]:
        fake.on("reload", together)

    assert ctl(*BOTH, "reload", "--max-parallel", "2").code == 0


def test_the_next_begins_when_the_one_before_is_ready_again(fakes: list[Fake], ctl: Ctl) -> None:
    """Also where the change itself has ended before that."""
    first, second, _ = fakes
    states = iter([READY | {"ready": False, "state": "degraded"}, READY | {"ready": False}, READY])
    seen_before_second: list[list[str]] = []

    def tell(call: Call) -> None:
        call.reply({"state": "degraded", "since": 1})
        call.note(state_event("degraded", "running"))

    first.on("status", lambda call: call.reply(next(states))).on("events", tell)

    def reload(call: Call) -> None:
        seen_before_second.append(asked(first))
        call.reply(golden("reload"))

    second.on("reload", reload)

    code, _, err = ctl(*BOTH, "reload")

    assert code == 0
    assert sorted(seen_before_second[0]) == ["events", "reload", "status", "status", "status"]
    assert "one: was ready after" in err


def test_one_that_does_not_become_ready_has_failed(
    fakes: list[Fake], ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "READY_AGAIN", 0.2)
    fakes[0].on("status", lambda call: call.reply(READY | {"ready": False, "state": "degraded"}))

    code, _, err = ctl(*BOTH, "reload", "--stop-on-failure")

    assert code == 5
    assert "failed: one; not tried: two" in err
    assert asked(fakes[1]) == []


def test_one_that_was_taken_out_on_purpose_is_not_waited_for(fakes: list[Fake], ctl: Ctl) -> None:
    fakes[0].on("status", lambda call: call.reply(READY | {"ready": False, "state": "draining"}))

    code, _, err = ctl(*BOTH, "reload")

    assert (code, err) == (0, "one: is draining, and stays out of rotation\n")
    assert asked(fakes[1]) == ["reload", "status"]


# --- failures ---


def refuse_reload(call: Call) -> None:
    call.refuse("failed", "worker 3 could not start", traceback="Traceback: boom")


def test_a_failure_does_not_keep_the_others_from_their_turn(fakes: list[Fake], ctl: Ctl) -> None:
    fakes[0].on("reload", refuse_reload)

    code, out, err = ctl(*THREE, "reload")

    assert code == 7
    assert "Traceback: boom" in err
    assert "one: worker 3 could not start" in err
    assert err.endswith("done: two, three; failed: one\n")
    assert "reloaded two" in out


def test_stop_on_failure_begins_with_no_other(fakes: list[Fake], ctl: Ctl) -> None:
    fakes[1].on("reload", refuse_reload)

    code, _, err = ctl(*THREE, "reload", "--stop-on-failure")

    assert code == 7
    assert err.endswith("done: one; failed: two; not tried: three\n")
    assert asked(fakes[2]) == []


def test_stop_on_failure_in_json_says_what_was_not_tried(fakes: list[Fake], ctl: Ctl) -> None:
    fakes[0].on("reload", refuse_reload)

    code, out, _ = ctl(*BOTH, "reload", "--stop-on-failure", "--json")

    assert code == 1
    assert json.loads(out)["two"] == {"exit": None, "error": {"name": "not_tried"}}


def test_requests_cut_stop_a_rolling_shutdown_that_is_to_stop(fakes: list[Fake], ctl: Ctl) -> None:
    def cut(call: Call) -> None:
        call.progress()
        call.reply(CUT)
        call.fake.die()

    fakes[0].on("shutdown", cut)

    code, out, err = ctl(*BOTH, "shutdown", "--stop-on-failure")

    assert code == 7
    assert "one:   cut GET /delay/3" in out
    assert err.endswith("done: one; not tried: two\n")


def test_all_down_already_is_done_with_missing_ok(ctl: Ctl) -> None:
    assert ctl("-t", "x", "-t", "y", "shutdown").code == 3
    assert ctl("-t", "x", "-t", "y", "shutdown", "--missing-ok").code == 0


def test_a_bug_at_one_target_is_not_the_others(
    fakes: list[Fake], ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: object, label: str) -> None:
        if label == "one":
            raise ZeroDivisionError("oops")

    monkeypatch.setattr(fanout, "_wait_until_ready", broken)

    code, out, err = ctl(*BOTH, "reload")

    assert code == 7
    assert "one: flaskd_ctl itself failed: ZeroDivisionError: oops" in err
    assert "reloaded two" in out


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_in_the_middle_tells_what_was_done(fakes: list[Fake], as_json: bool) -> None:
    """What is under way goes on; what has not begun does not begin."""
    under_way, let_go = threading.Event(), threading.Event()

    def hold(call: Call) -> None:
        under_way.set()
        assert let_go.wait(PATIENCE)

    fakes[1].on("reload", hold)
    command = [sys.executable, "-m", "flaskd_ctl", *THREE, "reload", *(["--json"] if as_json else [])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert under_way.wait(PATIENCE)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            let_go.set()

    assert process.returncode == 130
    assert asked(fakes[2]) == []
    summary = "done: one; not waited for, continues: two; not tried: three\n"
    if as_json:
        told = json.loads(out)
        assert [told[name]["exit"] for name in ("one", "two", "three")] == [0, None, None]
        assert [told[name]["error"]["name"] for name in ("two", "three")] == ["unfinished", "not_tried"]
    else:
        assert "reloaded one" in out
        assert err == summary


# --- the exit code of the whole ---

DONE, FAILED, DOWN, DENIED, LATE, CUT_, SOME = (Exit(code) for code in (0, 1, 3, 4, 5, 6, 7))


@pytest.mark.parametrize(
    ("codes", "whole"),
    [
        ([DONE, DONE], DONE),
        ([DOWN, DOWN], DOWN),
        ([CUT_, CUT_], CUT_),
        ([DONE, CUT_], CUT_),
        ([DONE, DOWN], SOME),
        ([CUT_, DOWN], SOME),
        ([SOME, DOWN], SOME),
        ([SOME, None], SOME),
        ([DONE, None], SOME),
        ([CUT_, None], SOME),
        ([DOWN, FAILED], FAILED),
        ([DENIED, FAILED, DOWN], DENIED),
        ([DENIED, LATE], LATE),
        ([DOWN, None], DOWN),
        ([FAILED, None], FAILED),
    ],
)
def test_the_code_of_the_whole(codes: list[Exit | None], whole: Exit) -> None:
    """Done everywhere, failed everywhere, or for some: the last is a code of its own."""
    assert combined(codes) is whole


def test_what_is_done_in_some_workers_of_a_target_is_done_in_part() -> None:
    """In the summary; neither done nor failed."""
    outcome = Outcome("one")
    outcome.code = SOME
    assert (outcome.word, outcome.done) == ("done in part", False)


def test_a_stream_that_nobody_reads_any_more_ends_for_all_targets() -> None:
    """The others may have nothing to show for hours."""
    screen = Screen(json=False)
    screen.result = lambda *_: False  # type: ignore[method-assign]  # the pipe is closed
    one, two = Outcome("one"), Outcome("two")
    report = Report(screen, [one, two], name="events", changes=False, streams=True)
    unread: list[bool] = []
    report.on_unread = lambda: unread.append(True)

    assert [report.stream(one), report.stream(two), report.stream(one)] == [False] * 3

    assert unread == [True]
