"""The command line: the exact exit code of each outcome, and what is said to whom."""

import fcntl
import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from flaskd_ctl.cli import guesses
from flaskd_ctl.cli.own import HEADING, OWN
from flaskd_ctl.contract.commands import COMMANDS, SECTIONS
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import file_name, identify
from flaskd_ctl.errors import BY_NAME
from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.flaskd_ctl.discovery.test_notes import STOP, write_note
from tests.flaskd_ctl.fake import CLEAN, CUT, PROGRESS, Call, Fake, StreamFake, golden, state_event

HOLD = 0.2
"""A --timeout for daemons that will not answer."""

BOUND = 1.0
"""A --timeout for those that will, but not with the last word; a busy machine answers late."""

ASKING = ["ping", "status", "describe", "drain", "resume", "workers", "requests", "incidents", "history"]
WORDS = {method: (method.replace("_", "-"),) for method in COMMANDS} | {
    "scale": ("scale", "2"),
    "restart_worker": ("restart-worker", "3"),
    "call": ("call", "cache.clear"),
    "cancel": ("cancel", "1742"),
    "set": ("set", "grace", "60"),
    "unset": ("unset", "grace"),
    "log_level": ("log-level", "DEBUG"),
}
"""What is typed for each command."""


# --- what is done ---


@pytest.mark.parametrize("method", ASKING)
def test_asking_shows_the_answer(fake: Fake, ctl: Ctl, method: str) -> None:
    code, out, err = ctl(method)

    assert (code, err) == (0, "")
    assert out.strip()
    assert [call.method for call in fake.calls] == [method]


@pytest.mark.parametrize(
    ("state", "code"), [("starting", 1), ("running", 0), ("degraded", 0), ("draining", 0), ("stopping", 0)]
)
def test_status_can_ask_for_one_that_serves(fake: Fake, ctl: Ctl, state: str, code: int) -> None:
    """A health check is not passed before the application is loaded, and is while it answers what it has."""
    fake.on("status", lambda call: call.reply(golden("status") | {"state": state}))

    told = ctl("status", "--serving")

    assert told.code == code
    assert state in told.out
    assert ctl("status").code == 0


@pytest.mark.parametrize(
    ("state", "workers", "code"),
    [
        ("degraded", [], 1),
        ("degraded", ["starting", "leaving"], 1),
        ("degraded", ["starting", "serving"], 0),
        ("running", ["starting"], 1),
        ("draining", ["serving"], 0),
        ("stopping", ["leaving"], 0),
    ],
)
def test_status_can_ask_whether_a_worker_serves(
    fake: Fake, ctl: Ctl, state: str, workers: list[str], code: int
) -> None:
    """One whose workers fail again and again answers `status`, but nobody else."""
    known = golden("status")
    changes = {"state": state, "workers": [known["workers"][0] | {"state": each} for each in workers]}
    fake.on("status", lambda call: call.reply(known | {"wanted_workers": 2} | changes))

    assert ctl("status", "--serving").code == code
    assert ctl("status").code == 0


@pytest.mark.parametrize("method", ASKING)
def test_json_is_the_daemons_own_result(either: Fake, ctl: Ctl, method: str) -> None:
    """Programs get every field, also those that this client does not know."""
    either.on(method, lambda call: call.reply(golden(method) | {"new_field": 1}))

    code, out, err = ctl("--endpoint", either.url, "--json", method)

    assert (code, err) == (0, "")
    assert json.loads(out) == golden(method) | {"new_field": 1}


def test_shutdown_waits_until_nothing_listens(either: Fake, ctl: Ctl) -> None:
    code, out, err = ctl("--endpoint", either.url, "shutdown")

    assert (code, err) == (0, "")
    assert "nothing was cut" in out
    assert not either.listens()


def test_shutdown_passes_its_options_on(fake: Fake, ctl: Ctl) -> None:
    ctl("shutdown", "--grace", "2.5", "--lame-duck", "10", "--wait-unrouted", "1", "--json")

    assert fake.calls[0].params == {"grace": 2.5, "lame_duck": 10.0, "wait_unrouted": 1.0, "progress": True}


def test_shutdown_without_options_leaves_the_grace_period_to_the_daemon(fake: Fake, ctl: Ctl) -> None:
    ctl("shutdown")

    assert fake.calls[0].params == {"progress": True}


def stop_with(result: dict[str, object]) -> Callable[[Call], None]:
    def answer(call: Call) -> None:
        call.progress()
        call.reply(result)
        call.fake.die()

    return answer


def test_requests_cut_are_exit_6_and_named(fake: Fake, ctl: Ctl) -> None:
    fake.on("shutdown", stop_with(CUT))

    code, out, _ = ctl("shutdown")

    assert code == 6
    assert "cut GET /delay/3" in out


def test_requests_cut_are_exit_6_in_json_too(fake: Fake, ctl: Ctl) -> None:
    fake.on("shutdown", stop_with(CUT))

    code, out, _ = ctl("shutdown", "--json")

    assert (code, json.loads(out)["clean"]) == (6, False)


def test_no_wait_returns_when_it_has_begun(fake: Fake, ctl: Ctl) -> None:
    """The daemon never finishes here."""
    fake.on("shutdown", lambda call: call.progress())

    code, out, _ = ctl("shutdown", "--no-wait", "--json")

    assert code == 0
    assert json.loads(out) == {"name": "shop", "state": "stopping"}


def test_kill_waits_until_nothing_listens(either: Fake, ctl: Ctl) -> None:
    code, out, _ = ctl("--endpoint", either.url, "kill")

    assert code == 0
    assert "killed" in out
    assert not either.listens()


def test_events_are_shown_until_the_instance_has_stopped(either: Fake, ctl: Ctl) -> None:
    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("running", "stopping"))
        call.note(state_event("stopping", "stopped"))

    either.on("events", tell)

    code, out, _ = ctl("--endpoint", either.url, "events", "--json")

    assert code == 0
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["stopping", "stopped"]


# --- what is not running ---


@pytest.mark.parametrize("method", [*COMMANDS])
def test_nothing_there_is_exit_3_at_once(ctl: Ctl, method: str) -> None:
    code, out, err = ctl(*WORDS[method], "--name", "shop")

    assert (code, out) == (3, "")
    assert "cannot reach shop: nothing listens at" in err
    assert "shop/sock" in err
    assert "Try `flaskd_ctl list`." in err


def test_no_name_and_nothing_there_is_exit_3_and_says_where_it_looked(ctl: Ctl, runtime_dir: str) -> None:
    code, _, err = ctl("status")

    assert code == 3
    assert f"looked in {runtime_dir}. Start one with `flaskd start`, or `flaskd run`" in err


def test_the_last_stop_is_told(ctl: Ctl, place: Place) -> None:
    write_note(place, stop=STOP)

    code, out, err = ctl("status", "--name", "shop")

    assert code == 3
    assert out.startswith("shop: stopped\n  last stop  1970-01-01 ")
    assert "clean, took 1.2 s: shutdown command by uid 1000 (pid 5, flaskd_ctl shutdown)" in out
    assert f"nothing listens at {place.sock} (last stopped 1970-01-01 " in err
    assert ", clean). Try `flaskd_ctl list`." in err


@pytest.mark.parametrize("method", ["shutdown", "kill"])
def test_missing_ok_makes_not_running_a_success(ctl: Ctl, method: str) -> None:
    """systemd's ExecStop= after the service died by itself."""
    code, out, err = ctl("--name", "shop", method, "--missing-ok", "--json")

    assert (code, err) == (0, "")
    assert json.loads(out) == {"name": "shop", "state": "stopped"}


def test_a_stale_socket_is_not_running(ctl: Ctl, place: Place) -> None:
    """kill -9 leaves its files behind: ECONNREFUSED."""
    os.mkdir(place.directory)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(place.sock)
    Path(place.instance_file).write_text(json.dumps({"pid": 4711, "started": 5.0}))

    code, _, err = ctl("status")

    assert code == 3
    assert "shop pid 4711 ended without cleaning up" in err


# --- what goes wrong ---

FAILURES = {
    "failed": 1,
    "internal": 1,
    "wrong_state": 1,
    "not_found": 1,
    "unknown_method": 1,
    "too_large": 1,
    "invalid_request": 1,
    "a_name_from_the_future": 1,
    "invalid_params": 2,
    "not_permitted": 4,
    "parse_error": 4,
    "timeout": 5,
}


@pytest.mark.parametrize(("name", "expected"), FAILURES.items())
def test_each_refusal_has_its_exit_code(fake: Fake, ctl: Ctl, name: str, expected: int) -> None:
    fake.on("drain", lambda call: call.refuse(name, "it cannot be", hint="do this"))

    code, out, err = ctl("drain")

    assert (code, out) == (expected, "")
    assert err == "flaskd_ctl: it cannot be. Do this.\n"


@pytest.mark.parametrize("name", ["failed", "internal", "not_permitted", "a_name_from_the_future"])
def test_status_that_cannot_be_known_is_exit_4(fake: Fake, ctl: Ctl, name: str) -> None:
    """LSB: 4 is "service status is unknown"."""
    fake.on("status", lambda call: call.refuse(name))

    assert ctl("status").code == 4


def test_json_errors_are_objects_on_stderr(fake: Fake, ctl: Ctl) -> None:
    fake.on("shutdown", lambda call: call.refuse("invalid_params", "too long", hint="less", path="$.grace"))

    code, out, err = ctl("shutdown", "--json")

    assert (code, out) == (2, "")
    assert json.loads(err) == {
        "name": "invalid_params",
        "message": "too long",
        "hint": "less",
        "data": {"path": "$.grace"},
    }


def test_the_field_at_fault_is_named(fake: Fake, ctl: Ctl) -> None:
    fake.on("shutdown", lambda call: call.refuse("invalid_params", "too long", path="$.grace"))

    assert "too long ($.grace)" in ctl("shutdown").err


@pytest.mark.parametrize("method", [*COMMANDS])
def test_a_daemon_that_says_nothing_is_exit_5(either: Fake, ctl: Ctl, method: str) -> None:
    either.on(method, lambda call: None)

    code, out, err = ctl("--endpoint", either.url, *WORDS[method], "--timeout", str(HOLD))

    assert (code, out) == (5, "")
    assert f"did not answer `{method}` for " in err


def test_a_daemon_that_accepts_nothing_is_exit_5(ctl: Ctl, place: Place) -> None:
    """SIGSTOP: the kernel still takes connections for it."""
    os.mkdir(place.directory)
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(place.sock)
        stopped.listen(8)

        assert ctl("status", "--timeout", str(HOLD)).code == 5


def test_a_daemon_whose_queue_is_full_is_exit_5(ctl: Ctl, place: Place) -> None:
    """connect(2) itself would wait."""
    os.mkdir(place.directory)
    with socket.socket(socket.AF_UNIX) as stopped, socket.socket(socket.AF_UNIX) as first:
        stopped.bind(place.sock)
        stopped.listen(0)
        first.connect(place.sock)

        code, _, err = ctl("ping", "--timeout", str(HOLD))

    assert code == 5
    assert "accepts no connection" in err


def test_timeout_bounds_a_shutdown_that_goes_on(fake: Fake, ctl: Ctl) -> None:
    fake.on("shutdown", lambda call: call.progress(deadline_left=3600.0))

    code, _, err = ctl("shutdown", "--timeout", str(BOUND))

    assert code == 5
    assert "shop is still stopping after 1 s" in err
    assert "did not answer" not in err


def test_an_instance_that_stays_is_exit_5(fake: Fake, ctl: Ctl) -> None:
    """It said that nothing is left, and yet listens."""
    fake.on("shutdown", lambda call: call.reply(CLEAN))

    code, _, err = ctl("shutdown", "--timeout", str(BOUND))

    assert code == 5
    assert "is still there" in err


@pytest.mark.parametrize("method", [*COMMANDS])
def test_a_connection_that_ends_before_the_answer_is_exit_4(either: Fake, ctl: Ctl, method: str) -> None:
    """Whether it was done is not known."""
    either.on(method, lambda call: call.fake.die())

    code, out, err = ctl("--endpoint", either.url, *WORDS[method], "--timeout", "10")

    assert (code, out) == (4, "")
    assert "before it" in err


def test_half_a_reply_is_exit_4(fake: Fake, ctl: Ctl) -> None:
    def half(call: Call) -> None:
        call.raw(b'{"jsonrpc":"2.0","id":1,"resu')
        call.fake.die()

    fake.on("drain", half)

    code, _, err = ctl("drain")

    assert code == 4
    assert "in the middle of a reply (29 bytes had come)" in err


@pytest.mark.parametrize(
    "rubbish", [b"HTTP/1.1 400 Bad Request\r\n", b"\xff\x00\x00\n", b"[]\n", b'{"jsonrpc":"2.0"}\n']
)
def test_rubbish_is_exit_4(either: Fake, ctl: Ctl, rubbish: bytes) -> None:
    either.on("status", lambda call: call.raw(rubbish))

    code, out, err = ctl("--endpoint", either.url, "status")

    assert (code, out) == (4, "")
    assert "is not in flaskd's protocol" in err


def test_an_endless_reply_is_refused(fake: Fake, ctl: Ctl) -> None:
    fake.on("describe", lambda call: call.raw(b"x" * (1024 * 1024 + 70_000)))

    code, _, err = ctl("describe")

    assert code == 1
    assert "longer than the protocol's 1048576 bytes" in err


def test_a_reply_of_a_mebibyte_is_read(either: Fake, ctl: Ctl) -> None:
    text = "x" * (1024 * 1024 - 100)
    either.on("describe", lambda call: call.reply({"text": text}))

    code, out, _ = ctl("--endpoint", either.url, "describe", "--json")

    assert (code, json.loads(out)) == (0, {"text": text})


def test_a_socket_we_may_not_open_is_exit_4_at_once(
    ctl: Ctl, monkeypatch: pytest.MonkeyPatch, fake: Fake
) -> None:
    """EACCES, which root never gets: the socket module says it in its place (live tests have a real other user)."""

    class Refused(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("flaskd_ctl.transports.unix_socket.socket.socket", Refused)

    for arguments in (("status",), ("status", "--name", "shop"), ("status", "--endpoint", fake.url)):
        code, out, err = ctl(*arguments)
        assert (code, out) == (4, "")
        assert "flaskd_ctl: " in err
    assert fake.calls == []


def test_a_bug_of_our_own_is_a_sentence(ctl: Ctl, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskd_ctl.text.results.as_text", lambda *_, **__: 1 // 0)

    code, _, err = ctl("ping")

    assert code == 1
    assert "flaskd_ctl itself failed: ZeroDivisionError" in err
    assert "Traceback" not in err


# --- which instance ---


def test_several_instances_and_no_name_is_exit_2_with_the_names(start_fake: StartFake, ctl: Ctl) -> None:
    shop, blog = start_fake("shop"), start_fake("blog")

    code, out, err = ctl("shutdown")

    assert (code, out) == (2, "")
    assert "2 instances are running: blog, shop. Choose one with --name." in err
    assert shop.calls == blog.calls == []


@pytest.mark.parametrize("arguments", [("--name", "blog", "ping"), ("ping", "--name", "blog")])
def test_a_name_chooses_before_or_after_the_command(
    start_fake: StartFake, ctl: Ctl, arguments: tuple[str, ...]
) -> None:
    shop, blog = start_fake("shop"), start_fake("blog")

    assert ctl(*arguments).code == 0

    assert (len(shop.calls), len(blog.calls)) == (0, 1)


def test_after_the_command_wins(start_fake: StartFake, ctl: Ctl) -> None:
    start_fake("shop")
    blog = start_fake("blog")

    assert ctl("--name", "shop", "ping", "--name", "blog").code == 0

    assert len(blog.calls) == 1


def test_the_runtime_directory_may_be_given(ctl: Ctl, runtime_dir: str) -> None:
    with StreamFake(Place(os.path.join(runtime_dir, "deep", "api"))):
        assert ctl("ping").code == 3
        assert ctl("ping", "--runtime-dir", os.path.join(runtime_dir, "deep")).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("ping", "--name", "../etc"),
        ("ping", "--name", ""),
        ("ping", "--endpoint", "http://127.0.0.1"),
        ("ping", "--endpoint", "unix://relative"),
        ("ping", "--endpoint", "unix:///" + "x" * 120),
        ("ping", "--endpoint", "unix:///a", "--name", "shop"),
        ("ping", "--timeout", "-1"),
        ("ping", "--timeout", "nan"),
        ("shutdown", "--grace", "soon"),
        ("shutdown", "--grace", "inf"),
        ("scale",),
        ("scale", "0"),
        ("scale", "+0"),
        ("scale", "-0"),
        ("scale", "many"),
        ("scale", "+-1"),
        ("scale", "1.5"),
        ("scale", "\u0662"),
        ("scale", "1", "2"),
        ("scale", "--by", "1"),
        ("restart-worker",),
        ("restart-worker", "0"),
        ("restart-worker", "first"),
        ("restart_worker", "1"),
        ("reload", "--check", "health"),
        ("reload", "-1"),
        ("incidents", "-1"),
        ("incidents", "last"),
        ("wait",),
        ("wait", "--for", "godot"),
        ("reboot",),
        ("completion", "powershell"),
    ],
)
@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_asked_wrongly_is_exit_2(
    ctl: Ctl, fake: Fake, arguments: tuple[str, ...], json_: tuple[str, ...]
) -> None:
    code, out, err = ctl(*arguments, *json_)

    assert (code, out) == (2, "")
    assert fake.calls == []
    if json_:
        assert set(json.loads(err)) >= {"name", "message", "hint"}


# --- list ---


def test_list_is_honest_about_each(start_fake: StartFake, ctl: Ctl, runtime_dir: str) -> None:
    start_fake("live")
    start_fake("mute").on("status", lambda call: None)
    start_fake("closed").on("status", lambda call: call.refuse("not_permitted"))
    stale = Place(os.path.join(runtime_dir, "stale"))
    os.mkdir(stale.directory)
    Path(stale.instance_file).write_text('{"pid": 4711}')
    os.mkdir(os.path.join(runtime_dir, "empty"))
    write_note(
        Place(os.path.join(runtime_dir, "old")),
        stop=STOP | {"clean": False, "why": "signal TERM", "by": None},
    )
    write_note(Place(os.path.join(runtime_dir, "live")), stop=None)

    code, out, err = ctl("list", "--all", "--json", "--timeout", str(BOUND))

    assert (code, err) == (0, "")
    assert {row["name"]: row["state"] for row in json.loads(out)} == {
        "live": "running",
        "mute": "no answer",
        "closed": "not permitted",
        "stale": "stale",
        "old": "stopped",
    }
    text = ctl("list", "--all", "--timeout", str(BOUND)).out
    assert text.startswith("NAME ")
    assert "signal TERM" in text

    code, out, err = ctl("list", "--timeout", str(BOUND))

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "closed", "live", "mute"]
    assert err == "2 instances that are not running: flaskd_ctl list --all\n"


def test_an_instance_is_forgotten_with_what_it_left(ctl: Ctl, place: Place, tmp_path: Path) -> None:
    """What a killed process leaves in the runtime directory, its note and its record; the audit log stays."""
    os.mkdir(place.directory)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(place.sock)
    for path in (place.instance_file, place.lock):
        Path(path).write_text("{}")
    write_note(place, stop=None)
    state = Path(os.environ["XDG_STATE_HOME"], "flaskd")
    audit, record = state / "shop.audit.jsonl", state / file_name(place.directory)
    audit.write_text("{}\n")
    record.write_text(json.dumps({"name": "shop", "directory": place.directory, **identify(2**22 + 1)}))

    code, out, err = ctl("forget", "shop")

    assert (code, out, err) == (0, "shop is forgotten: 5 files removed\n", "")
    assert not os.path.lexists(place.directory)
    assert os.listdir(state) == [audit.name]
    assert ctl("list", "--all", "--json").out == "[]\n"
    code, _, err = ctl("forget", "shop")
    assert (code, err.splitlines()[0][:46]) == (1, "flaskd_ctl: no instance called shop is known. ")


def test_what_is_not_an_instances_is_not_removed(ctl: Ctl, place: Place) -> None:
    """Neither a file of another kind at the name of ours, nor one of another name."""
    os.mkdir(place.directory)
    Path(place.sock).write_text("a letter")
    Path(place.directory, "notes").write_text("mine")
    Path(place.instance_file).write_text('{"pid": 4711}')

    assert ctl("forget", "shop").code == 0

    assert sorted(os.listdir(place.directory)) == ["notes", "sock"]


def test_an_instance_that_runs_is_not_forgotten(fake: Fake, ctl: Ctl, place: Place) -> None:
    write_note(place, stop=None)

    code, _, err = ctl("forget", "shop")

    assert code == 1
    assert (
        err
        == "flaskd_ctl: shop is running, so it is not forgotten. Stop it first: flaskd_ctl --name shop shutdown.\n"
    )
    assert fake.listens()
    assert ctl("forget").code == 2
    assert ctl("forget", "a/b").code == 2


def test_an_instance_that_is_starting_is_not_forgotten(ctl: Ctl, place: Place) -> None:
    """It has its lock, and listens a moment later."""
    os.mkdir(place.directory)
    Path(place.instance_file).write_text('{"pid": 4711}')
    with open(place.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert ctl("forget", "shop").code == 1

    assert sorted(os.listdir(place.directory)) == ["instance.json", "lock"]


def test_list_is_of_this_host_and_of_one_instance_if_that_is_named(ctl: Ctl, start_fake: StartFake) -> None:
    """Else it would look like the list of that host, or of that instance."""
    start_fake("shop")
    start_fake("blog")

    assert [row["name"] for row in json.loads(ctl("--json", "--name", "blog", "list").out)] == ["blog"]
    code, out, err = ctl("--endpoint", "ssh://web1/shop", "list")

    assert (code, out) == (2, "")
    assert "--endpoint does not go together with list" in err


def test_list_of_nothing_says_where_it_looked(ctl: Ctl, runtime_dir: str) -> None:
    code, out, err = ctl("list")

    assert (code, out) == (0, "")
    assert f"no instance is running: looked in {runtime_dir}" in err
    assert ctl("list", "--json").out == "[]\n"


# --- manners ---


@pytest.mark.parametrize("name", [*COMMANDS, *OWN])
def test_help_says_what_it_does_and_waits_for_who_may_and_an_example(ctl: Ctl, name: str) -> None:
    code, out, err = ctl(name.replace("_", "-"), "--help")

    assert (code, err) == (0, "")
    plain = " ".join(out.split())
    assert "Example: " in plain
    assert {"--name", "--endpoint", "--timeout", "--json", "--runtime-dir"} <= set(plain.split())
    if name in COMMANDS:
        command = COMMANDS[name]
        assert command.summary in plain
        assert command.waits in plain
        assert command.example in plain
        assert f"Role: {command.role.value} or higher" in plain


def test_help_lists_commands_in_the_tables_order_and_the_exit_codes(ctl: Ctl) -> None:
    """Each under its heading."""
    code, out, _ = ctl("--help")

    assert code == 0
    lines = out.split("Show this message and exit.")[1].split("Exit codes:")[0].splitlines()
    listed = [line.split()[0] for line in lines if line[:2] == "  " and line[2:3].strip()]
    headings = [line for line in lines if line[:1].strip()]
    assert headings == [f"{heading}:" for heading in [*SECTIONS, HEADING]]
    assert listed == [name.replace("_", "-") for name in [*COMMANDS, *OWN]]
    assert [line.split()[0] for line in out.split("Exit codes:")[1].split("\n") if line.strip()] == list(
        "01234567"
    )


def test_every_error_has_an_exit_code_that_is_told() -> None:
    from flaskd_ctl.cli.exits import MEANINGS, code_of

    assert {code_of(kind("x")) for kind in BY_NAME.values()} <= set(MEANINGS)


def test_no_colour_and_no_progress_but_on_a_terminal(fake: Fake, ctl: Ctl) -> None:
    code, out, err = ctl("status")
    assert "\x1b" not in out

    code, out, err = ctl("shutdown")
    assert (code, err) == (0, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal(fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """In flight, the slowest, the deadline; gone when it is over."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    ctl("shutdown")

    shown = terminal.getvalue()
    assert f"shop: {PROGRESS['phase']}: 1 in flight, deadline " in shown
    assert ", slowest GET /delay/3" in shown
    assert shown.endswith("\r\x1b[K")


def test_colour_is_shown_on_a_terminal(fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)

    ctl("status")
    assert "\x1b[32mrunning\x1b[0m" in terminal.getvalue()

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    ctl("status")
    assert "\x1b" not in plain.getvalue()


def test_a_path_from_outside_cannot_steer_the_terminal(fake: Fake, ctl: Ctl) -> None:
    one = golden("requests")["requests"][0] | {"path": "/\x1b[2J\x07\nfake"}
    fake.on("requests", lambda call: call.reply({"requests": [one]}))

    out = ctl("requests").out

    assert "/\\x1b[2J\\x07\\nfake" in out
    assert "\x1b" not in out


def test_an_encoding_without_the_characters_is_no_reason_to_fail(
    fake: Fake, ctl: Ctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = golden("requests")["requests"][0] | {"path": "/caf\u00e9/\u2603"}
    fake.on("requests", lambda call: call.reply({"requests": [one]}))
    latin = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", latin)

    assert ctl("requests").code == 0
    assert ctl("requests", "--json").code == 0

    text, data = latin.buffer.getvalue().decode().split("[", 1)
    assert "/caf\\xe9/\\u2603" in text
    assert json.loads("[" + data[: data.rindex("]") + 1])[0]["path"] == one["path"]


def test_ctrl_c_is_130(ctl: Ctl, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flaskd_ctl.transports.unix.UnixConnection.receive", interrupt)

    code, out, err = ctl("--name", "shop", "shutdown")

    assert (code, out) == (130, "")
    assert err.startswith("Stopped waiting; shop continues the shutdown\n")


def test_events_that_are_bounded_end_without_a_reproach(fake: Fake, ctl: Ctl) -> None:
    """The daemon has answered; that nothing more happened is no fault of its."""
    fake.on("events", lambda call: call.reply({"state": "running", "since": 1}))

    code, _, err = ctl("events", "--timeout", str(BOUND))

    assert code == 5
    assert "the events of shop were followed for 1" in err


def test_events_that_break_off_are_exit_4(fake: Fake, ctl: Ctl) -> None:
    """`kill -9` of the daemon: what was asked for was answered, the end is not known."""

    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("running", "draining"))
        call.fake.die()

    fake.on("events", tell)
    code, out, err = ctl("events")

    assert (code, len(out.splitlines())) == (4, 1)
    assert "the events of shop broke off" in err
    assert "before it answered" not in err


def run_to(stdout: str, *arguments: str) -> tuple[int, str]:
    import subprocess

    script = f'exec "$0" -m flaskd_ctl "$@" {stdout}'
    command = ["sh", "-c", script, sys.executable, *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=20)
    return done.returncode, done.stderr


def test_a_closed_stdout_is_no_failure(fake: Fake) -> None:
    """`flaskd_ctl drain >&-`: nobody wants to read it."""
    assert run_to(">&-", "status") == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_full_disk_is_said(fake: Fake) -> None:
    """`flaskd_ctl status --json > file` that is left empty did not succeed."""
    code, err = run_to(">/dev/full", "drain")

    assert code == 1
    assert "the result cannot be written to stdout: No space left on device" in err


def test_the_version_is_told(ctl: Ctl) -> None:
    code, out, err = ctl("--version")

    assert (code, err) == (0, "")
    assert out.startswith("flaskd_ctl, version ")


def test_a_reader_that_goes_away_ends_the_stream_without_a_word(fake: Fake) -> None:
    """`flaskd_ctl events | head -1`."""
    import subprocess

    go = threading.Event()

    def tell(call: Call) -> None:
        call.reply({"state": "running", "since": 1})
        call.note(state_event("a", "b"))
        assert go.wait(20)
        call.note(state_event("b", "c"))

    fake.on("events", tell)
    with subprocess.Popen(
        [sys.executable, "-m", "flaskd_ctl", "events", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        go.set()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_the_page_on_clients_has_every_command_and_exit_code() -> None:
    from flaskd_ctl.cli.exits import MEANINGS

    page = (Path(__file__).parents[3] / "docs" / "clients.md").read_text()
    for name in [*COMMANDS, *OWN]:
        assert f"`{name.replace('_', '-')}" in page
    plain = page.replace("`", "")
    for code, meaning in MEANINGS.items():
        assert f"| {code} | {meaning}" in plain


HOSTILE: Final = "\x1b]0;owned\x07\r\x9b31m"
"""Sets a terminal's title, overwrites a line, and colours the rest: where it is not escaped."""


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_an_error_from_outside_cannot_steer_the_terminal(
    fake: Fake, ctl: Ctl, json_: tuple[str, ...]
) -> None:
    """The sentence, the hint from its first character on, the field and the traceback."""
    fake.on(
        "status",
        lambda call: call.refuse("failed", HOSTILE, hint=HOSTILE, path=HOSTILE, traceback=HOSTILE),
    )

    code, out, err = ctl(*json_, "status")

    assert (code, out) == (4, "")
    assert "owned" in err
    assert not set(err) & set(HOSTILE) - set("]0;owned31m")


@pytest.mark.parametrize("method", ASKING)
@pytest.mark.parametrize("wrong", [HOSTILE, {HOSTILE: HOSTILE}, [HOSTILE], 7, None], ids=type)
def test_a_reply_of_the_wrong_shape_is_exit_4(fake: Fake, ctl: Ctl, method: str, wrong: object) -> None:
    """Each field in turn: it is shown, or it is said that this is not understood; never a bug, never unescaped."""
    odd: dict[str, Any] = {}
    fake.on(method, lambda call: call.reply(odd))
    for field in golden(method):
        odd = golden(method) | {field: wrong}

        code, out, err = ctl(method)

        assert code in {0, 4}, (field, err)
        assert not code or "not a flaskd that I understand" in err
        assert not set(out + err) & set("\x1b\x07\r\x9b"), field


def test_the_usage_of_log_level_says_that_both_may_be_left_out(ctl: Ctl) -> None:
    """Without a level it shows the levels."""
    assert "[OPTIONS] [[LOGGER] LEVEL]\n" in ctl("log-level", "--help").out


# --- what is typed instead ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stop",), "No such command 'stop'. Next: use `flaskd_ctl shutdown`"),
        (("start",), "No such command 'start'. Next: use `flaskd start`"),
        (("staus",), "No such command 'staus'. Next: did you mean status?"),
        (("-n", "shop", "status"), "No such option: -n. Next: use --name NAME"),
        (("set", "grace", "5", "--for", "0"), "give more than 0 seconds, or leave it out"),
        (
            ("stacks", "--worker", "0"),
            "'0' is not the id of a worker (1 to 999999999); `flaskd_ctl workers` lists",
        ),
        (
            ("shutdown", "--force"),
            "No such option: --force. Next: to cut requests: `flaskd_ctl shutdown --grace 0`",
        ),
    ],
)
def test_a_slip_of_the_keyboard_is_exit_2_with_the_next_step(
    ctl: Ctl, words: tuple[str, ...], said: str
) -> None:
    code, out, err = ctl(*words)

    assert (code, out) == (2, "")
    assert said in err


def test_each_guess_leads_to_a_command() -> None:
    """And none of the words is a command itself."""
    known = {word for words in WORDS.values() for word in words[:1]} | OWN.keys()
    assert {meant.split()[0] for meant in guesses.COMMANDS.values()} <= known
    assert not known & {*guesses.COMMANDS, *guesses.OF_FLASKD}


def test_a_misspelt_name_is_guessed(fake: Fake, ctl: Ctl, place: Place) -> None:
    """If such an instance has never run; one that has stopped is what is meant."""
    assert ctl("--name", "shpo", "status").err.endswith("Did you mean shop?\n")
    assert "Did you mean shop?" in ctl("--target", "shpo", "status").err
    write_note(Place(os.path.join(os.path.dirname(place.directory), "shpo")), stop=STOP)
    assert "Try `flaskd_ctl list`" in ctl("--name", "shpo", "status").err
