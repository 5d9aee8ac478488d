"""What was: how instances ended, told from their notes, and the orders of an audit log, read without the daemon."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.contract import audit_log
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.process_record import identify
from flaskd_ctl.discovery import notes
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import NotFound, NotRunning
from flaskd_ctl.protocol import AuditEntry
from flaskd_ctl.text import history
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Fake, golden

BY = {"via": "control", "uid": 1000, "gid": 1000, "pid": 5, "detail": "", "key": ""}
STOP: dict[str, Any] = {
    "at": 1000.0,
    "clean": True,
    "why": "shutdown command",
    "by": BY,
    "who": "flaskd_ctl shutdown",
    "took": 1.2,
    "pid": 1,
}
EVIL = "\x1b[2J\r\n{}\x9b31m\u2028"
"""What steers a terminal or forges a line, where it is written as it came."""


def write_note(place: Place, *, stop: dict[str, Any] | None, below: str = "flaskd", **others: object) -> None:
    """Leave the note that an instance at `place` would have left."""
    directory = Path(os.environ["XDG_STATE_HOME"], below)
    directory.mkdir(parents=True, exist_ok=True)
    note = {"name": place.name, "directory": place.directory, "pid": 4711, "started": 50.0, "stop": stop}
    (directory / f"{place.name}.json").write_text(json.dumps(note | others))


@pytest.mark.parametrize("below", ["flaskd", "flaskd/shop"])
def test_a_stop_is_found(place: Place, below: str) -> None:
    """StateDirectory=flaskd, or flaskd/shop."""
    write_note(place, stop=STOP, below=below)

    assert notes.stop_of(Instances().notes()["shop"]) == STOP
    with pytest.raises(NotRunning, match=r"\(last stopped 1970-01-01 .*, clean\)") as told:
        Instances().target("shop")
    assert told.value.data["last_stop"] == STOP


def test_without_a_name_the_one_that_stopped_last_is_told(place: Place) -> None:
    """Another may have begun later, and failed at once."""
    write_note(place, stop=STOP | {"at": 3000.0})
    other = Place(os.path.join(os.path.dirname(place.directory), "other"))
    write_note(other, started=2000.0, stop=STOP | {"at": 2000.1, "clean": False})

    with pytest.raises(NotRunning, match=r"\(shop last stopped"):
        Instances().target()


def test_a_note_of_one_that_lived_elsewhere_is_not_told(place: Place, tmp_path: Path) -> None:
    """Notes have names, and another directory may hold an instance of the same name."""
    write_note(Place(str(tmp_path / "shop")), stop=STOP)

    assert Instances().notes() == {}
    with pytest.raises(NotRunning) as told:
        Instances().target("shop")
    assert "last" not in str(told.value)


def test_a_link_that_is_gone_hides_no_note(place: Place, tmp_path: Path) -> None:
    """The directory may have been reached by a link (/var/run; DynamicUser=)."""
    os.symlink(os.path.dirname(place.directory), tmp_path / "link")
    write_note(Place(str(tmp_path / "link" / "shop")), stop=STOP)
    assert Instances().notes()["shop"]["stop"] == STOP

    write_note(place, stop=STOP)
    assert Instances(str(tmp_path / "link")).notes()["shop"]["stop"] == STOP


def test_a_note_without_an_end_whose_process_runs_does_not_say_that_it_has_ended(place: Place) -> None:
    """Between the end of its sockets and the end of its process."""
    write_note(place, stop=None, **identify(os.getpid()))

    with pytest.raises(NotRunning, match=rf"\(pid {os.getpid()} serves no more and has not ended yet\)"):
        Instances().target("shop")


def test_a_note_without_an_end_says_so(place: Place, ctl: Ctl) -> None:
    """kill -9, or the machine went down: nobody could write how it ended."""
    write_note(place, stop=None)

    with pytest.raises(NotRunning, match=r"\(pid 4711 ended without a note\)"):
        Instances().target("shop")
    code, out, _ = ctl("status", "--name", "shop", "--json")
    assert code == 3
    told = json.loads(out)
    assert (told["state"], told["last_stop"]["why"]) == ("stopped", "ended without a note")
    assert (told["last_stop"]["clean"], told["last_stop"]["at"]) == (False, None)
    assert "killed, or the machine went down, or its disk was full" in ctl("status", "--name", "shop").out


def test_a_crash_after_the_last_stop_is_what_is_told(place: Place) -> None:
    """The newer word counts: it has stopped cleanly once, was started again where no note could be left, and was killed."""
    os.mkdir(place.directory)
    Path(place.instance_file).write_text('{"pid": 4712, "started": 60.0}')
    write_note(place, stop=STOP)
    with pytest.raises(NotRunning, match=r"\(pid 4712 ended without cleaning up\)"):
        Instances().target("shop")

    write_note(place, stop=STOP, started=70.0)
    with pytest.raises(NotRunning, match=r"\(last stopped .*, clean\)"):
        Instances().target("shop")


def test_without_a_name_the_latest_is_told(runtime_dir: str) -> None:
    write_note(Place(os.path.join(runtime_dir, "blog")), stop=STOP, started=60.0)
    write_note(Place(os.path.join(runtime_dir, "shop")), stop=STOP | {"clean": False}, started=70.0)

    with pytest.raises(NotRunning, match=r"\(shop last stopped 1970-01-01 .*, not clean\)"):
        Instances().target()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"stop": {}}',
        '{"name": "shop", "started": "now", "pid": 1, "stop": null}',
        "[" * 100_000,
    ],
)
def test_what_is_no_note_is_passed_over(place: Place, content: str) -> None:
    write_note(place, stop=STOP)
    Path(os.environ["XDG_STATE_HOME"], "flaskd", "shop.json").write_text(content)

    with pytest.raises(NotRunning, match="nothing listens"):
        Instances().target("shop")


@pytest.mark.parametrize(
    ("by", "why", "told"),
    [
        (BY, "shutdown command", "shutdown command by uid 1000 (pid 5, flaskd_ctl shutdown)"),
        (BY | {"uid": None, "pid": None, "key": "ci"}, "kill command", "kill command by key ci"),
        (
            BY | {"via": "signal", "detail": "SIGTERM"},
            "signal SIGTERM",
            "signal SIGTERM by uid 1000 (pid 5, flaskd_ctl shutdown)",
        ),
        ({"via": "application", "pid": 5}, "application", "application (pid 5)"),
        ({"via": "signal", "detail": "SIGINT"}, "signal SIGINT", "signal SIGINT"),
        (None, "could not start: no such file", "could not start: no such file"),
    ],
)
def test_why_and_by_whom_is_told(by: dict[str, Any] | None, why: str, told: str) -> None:
    assert history.last_stop(STOP | {"by": by, "why": why}).endswith(f": {told}")


def test_nothing_that_is_shown_can_steer_a_terminal() -> None:
    """A command line is anybody's, and so is a parameter."""
    entry = golden("history")["entries"][1]
    evil = dict.fromkeys(("command", "who", "role", "outcome", "error", "user"), EVIL)
    by = {"via": "signal", "uid": EVIL, "pid": EVIL, "detail": EVIL}

    texts = [
        history.history({"entries": [entry | evil | {"params": {EVIL: EVIL}, "by": by}]}),
        history.stopped_status(EVIL, STOP | {"why": EVIL, "who": EVIL, "by": by}),
        history.stopped_status(EVIL, STOP | {"at": None, "why": EVIL, "pid": EVIL}),
    ]

    for text in texts:
        assert all(line.isprintable() for line in text.split("\n"))
        assert len(text.split("\n")) <= 3


# --- the audit log ---


def lines(*entries: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def order(ident: str, outcome: str = "begun", **others: object) -> dict[str, Any]:
    entry: dict[str, Any] = golden("history")["entries"][0]
    return entry | {"id": ident, "outcome": outcome} | others


def test_an_order_is_one_entry_with_its_last_word() -> None:
    """In the order in which they came, though they end in another."""
    log = lines(order("a"), order("b"), order("b", "done"), order("c", "refused"), order("a", "failed"))

    told = [(entry["id"], entry["outcome"]) for entry in audit_log.merged(log)]

    assert told == [("a", "failed"), ("b", "done"), ("c", "refused")]


def test_one_that_was_cut_short_has_left_who_asked() -> None:
    """The daemon was killed in the middle of it."""
    assert [entry["outcome"] for entry in audit_log.merged(lines(order("a")))] == ["begun"]


@given(st.lists(st.one_of(st.binary(), st.text().map(str.encode), st.just(b'{"id": "x", "at": {}}'))))
def test_what_is_no_entry_is_passed_over(rubbish: list[bytes]) -> None:
    """The rest of a line whose writer was killed, somebody's remark, a deep nest of brackets."""
    log = lines(order("a")) + b"\n".join(rubbish) + b"\n" + b"[" * 50_000 + b"\n" + lines(order("b"))

    assert [entry["id"] for entry in audit_log.merged(log)] == ["a", "b"]


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    """Within the bytes that fit into one message; an entry is whole or not there."""
    path = tmp_path / "log"
    path.write_bytes(lines(*(order(str(number), error="e" * 500) for number in range(5000))))

    few, many = audit_log.newest(str(path), 3), audit_log.newest(str(path), 1000)

    assert [entry["id"] for entry in few] == ["4997", "4998", "4999"]
    assert [entry["id"] for entry in many] == [str(number) for number in range(5000 - len(many), 5000)]
    assert 100 < len(many) < 1000
    assert len(json.dumps({"entries": many})) < 1024 * 1024


def test_history_of_one_that_has_stopped_is_read_by_the_client(
    place: Place, ctl: Ctl, tmp_path: Path
) -> None:
    """Its daemon cannot be asked any more; where it was read is said, beside the result."""
    log = tmp_path / "audit.jsonl"
    log.write_bytes(lines(order("a", "done"), order("b", "failed", error="no such worker")))
    write_note(place, stop=STOP, audit_log=str(log))

    code, out, err = ctl("history", "--limit", "1")

    assert code == 0
    assert f"shop is not running; this is from {log}" in err
    head, line, why = out.splitlines()
    assert head.split() == ["AT", "COMMAND", "OUTCOME", "TOOK", "ROLE", "ASKED", "BY"]
    assert "failed" in line
    assert why == "  no such worker"
    result = json.loads(ctl("history", "--json").out)
    assert [entry["id"] for entry in result["entries"]] == ["a", "b"]


def test_a_log_that_is_gone_is_said(place: Place, ctl: Ctl) -> None:
    write_note(place, stop=STOP, audit_log="/nowhere/log")

    with pytest.raises(NotFound, match="there is no audit log /nowhere/log: nothing was logged"):
        notes.log_of("shop", "/nowhere/log")
    assert ctl("history").code == 1


def test_without_a_log_it_is_just_not_running(place: Place, ctl: Ctl) -> None:
    write_note(place, stop=STOP, audit_log="")

    assert ctl("history").code == 3


def test_a_limit_is_a_number_from_1_to_1000(ctl: Ctl) -> None:
    for limit in ("0", "1001", "-1", "all"):
        code, _, err = ctl("history", "--limit", limit)
        assert code == 2
        assert f"'{limit}' is not a number of entries (1 to 1000)" in err


def test_a_peer_cannot_have_a_file_read(fake: Fake, ctl: Ctl, tmp_path: Path) -> None:
    """What names the log is the note on this host, not an error that came over the wire."""
    (tmp_path / "log").write_bytes(lines(order("a")))
    fake.on("history", lambda call: call.refuse("not_running", audit_log=str(tmp_path / "log")))

    code, out, _ = ctl("history")

    assert (code, out) == (3, "")


def test_both_clients_return_typed_entries(either: Fake) -> None:
    async def ask() -> list[AuditEntry]:
        async with AsyncClient(endpoint=either.url) as client:
            return await client.history()

    with Client(endpoint=either.url) as client:
        entries = client.history(2)

    assert [(entry.command, entry.by.uid, entry.outcome) for entry in entries] == [
        ("reload", 1000, "done"),
        ("kill", 1000, "refused"),
    ]
    assert asyncio.run(ask()) == entries
    assert [call.params for call in either.calls] == [{"limit": 2}, {"limit": 50}]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/srv/shop/.venv/bin/python3 /srv/shop/.venv/bin/flaskd_ctl stop", "python3 flaskd_ctl stop"),
        ("flaskd_ctl --runtime-dir /run/x shutdown", "flaskd_ctl --runtime-dir /run/x shutdown"),
        ("a" * 51, "a" * 49 + "…"),
        ("", ""),
        ("/ /", "/ /"),
    ],
)
def test_a_long_command_line_is_shortened_for_people(line: str, told: str) -> None:
    """Nobody needs the directories of the caller's Python."""
    assert history.brief(line) == told


def test_a_long_command_line_is_whole_in_json(ctl: Ctl, place: Place) -> None:
    """A program may look for any of its words."""
    who = "/usr/bin/python3 /opt/" + "deep/" * 20 + "deploy.py --now"
    write_note(place, stop=STOP | {"who": who})

    assert "deploy.py --now)" in ctl("--name", "shop", "status").out
    assert "deep" not in ctl("--name", "shop", "status").out
    assert json.loads(ctl("--name", "shop", "status", "--json").out)["last_stop"]["who"] == who
