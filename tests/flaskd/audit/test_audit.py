"""Who asked for what is written down, allowed or refused, before it is done and after; no word of theirs can forge a line."""

import asyncio
import json
import os
import resource
import signal
import socket
import stat
import tempfile
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from flaskd.audit import entry as audit_entry, journal, log as audit
from flaskd.audit.last_stop import LastStopNote, stop_reason
from flaskd.audit.log import Audit
from flaskd.control.access.policy import Grant, Rules
from flaskd.control.registry import Call, Registry
from flaskd.errors import ConfigError
from flaskd_ctl.contract import audit_log, commands
from flaskd_ctl.errors import NotFound
from flaskd_ctl.protocol import Actor, AuditEntry, LastStop, ReloadParams, ScaleParams, ShutdownParams
from tests.support.daemons import PATIENCE
from tests.wire.test_golden import golden

ME = Actor(via="control", uid=os.getuid(), gid=os.getgid(), pid=os.getpid())
STRANGER = Actor(via="control", uid=54_321, gid=54_321, pid=os.getpid())
CI = Actor(via="control", key="ci")
SIGTERM = Actor(via="signal", detail="SIGTERM")


class Heard:
    """What was said of outcomes, in place of stderr."""

    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.sentences: list[str] = []

    def __call__(self, entry: AuditEntry, said: str) -> None:
        self.entries.append(entry)
        self.sentences.append(said)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def log(tmp_path: Path, heard: Heard) -> Audit:
    return Audit(str(tmp_path / "audit.jsonl"), report=heard)


def written(log: Audit) -> list[dict[str, Any]]:
    with open(log.path, encoding="ascii") as file:
        return [json.loads(line) for line in file]


# --- what is written ---


def test_an_order_is_written_before_it_is_done_and_with_its_outcome(log: Audit, heard: Heard) -> None:
    """So that a daemon which is killed in the middle of it has left who asked."""
    record = log.begin("reload", {"check": "/health"}, ME, role="admin")
    (begun,) = written(log)
    assert (begun["outcome"], begun["by"]["pid"], begun["role"]) == ("begun", os.getpid(), "admin")
    assert begun["who"]
    assert heard.sentences == []

    record.finish(None)

    first, last = written(log)
    assert first == begun
    assert last == begun | {"outcome": "done", "took": last["took"]}
    assert heard.sentences[0].startswith(f"flaskd: reload check=/health asked for by uid {os.getuid()} (")
    assert heard.sentences[0].endswith(" ms") or heard.sentences[0].endswith(" s")


def test_a_failure_and_a_refusal_say_why(log: Audit, heard: Heard) -> None:
    log.begin("restart_worker", {"worker": 9}, ME).finish(NotFound("there is no worker 9"))
    log.refuse("kill", {}, STRANGER, "uid 54321 has no role here; kill needs admin", role="")

    _, failed, refused = written(log)
    assert (failed["outcome"], failed["error"]) == ("failed", "there is no worker 9")
    assert (refused["outcome"], refused["by"]["uid"], refused["user"]) == ("refused", 54_321, "")
    assert "refused: uid 54321 has no role here" in heard.sentences[1]


def test_the_outcome_is_the_orders_whoever_waits_for_it(log: Audit) -> None:
    """A caller that leaves takes nothing back, and does not make it a failure."""
    future: Future[int] = Future()

    async def play() -> None:
        record = log.begin("shutdown", {}, ME)

        async def handler() -> None:
            record.follow(future)
            await asyncio.Event().wait()

        asking = asyncio.ensure_future(record.await_outcome(handler()))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking], timeout=PATIENCE)

    asyncio.run(play())
    assert [line["outcome"] for line in written(log)] == ["begun"]
    future.set_result(1)
    assert [line["outcome"] for line in written(log)] == ["begun", "done"]


def test_an_order_that_is_refused_where_it_is_given_has_failed(log: Audit) -> None:
    def order() -> Future[None]:
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        log.run("scale", {"by": 1}, SIGTERM, order)
    assert [(line["outcome"], line["error"]) for line in written(log)] == [
        ("begun", ""),
        ("failed", "no such thing"),
    ]


def test_an_order_that_breaks_where_it_is_given_has_failed(log: Audit) -> None:
    """Whatever the error: one that was only begun would be a daemon that was killed in the middle."""

    def order() -> Future[None]:
        raise FileNotFoundError(2, "No such file")

    with pytest.raises(FileNotFoundError):
        log.run("reload", {}, SIGTERM, order)
    assert [line["outcome"] for line in written(log)] == ["begun", "failed"]


def test_the_newest_are_read_back(log: Audit) -> None:
    for number in range(5):
        log.begin("scale", {"to": number}, ME).finish(None)

    entries = log.newest(2)

    assert [(entry.params, entry.outcome) for entry in entries] == [({"to": 3}, "done"), ({"to": 4}, "done")]
    assert Audit("/nowhere/log").newest(2) == []


# --- the file ---


def test_the_log_is_ours_alone_and_only_grows(log: Audit) -> None:
    log.begin("drain", {}, ME)
    before = Path(log.path).read_bytes()
    assert stat.S_IMODE(os.stat(log.path).st_mode) == 0o600

    log.begin("resume", {}, ME)

    assert Path(log.path).read_bytes().startswith(before)


def test_a_log_that_was_moved_away_begins_anew(log: Audit) -> None:
    """logrotate(8) needs neither a signal nor copytruncate."""
    record = log.begin("drain", {}, ME)
    os.rename(log.path, f"{log.path}.1")

    record.finish(None)

    assert [line["outcome"] for line in written(log)] == ["done"]


def test_what_cannot_be_written_is_said_once_and_stops_nobody(
    log: Audit, heard: Heard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever operates a machine whose disk is full has to be able to stop things on it."""
    log.path = str(tmp_path / "gone" / "log")
    for _ in range(3):
        log.begin("drain", {}, ME).finish(None)
    assert len(heard.sentences) == 3
    said = capsys.readouterr().err
    assert said.count("cannot write the audit log") == 1
    assert "No such file or directory; commands still run" in said

    (tmp_path / "gone").mkdir()
    log.begin("drain", {}, ME)
    assert len(written(log)) == 1


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_log_is_a_file(log: Audit, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A link could lead anywhere, and a pipe that nobody reads would hold up the daemon."""
    if kind == "link":
        os.symlink(tmp_path / "elsewhere", log.path)
    else:
        os.mkfifo(log.path)

    log.begin("drain", {}, ME)

    assert "cannot write the audit log" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_the_rest_of_a_line_that_did_not_fit_swallows_no_other(log: Audit) -> None:
    """The disk was full in the middle of it, or its writer was killed."""
    log.begin("drain", {}, ME)
    with open(log.path, "ab") as file:
        file.write(b'{"id": "half of a li')

    log.begin("resume", {}, ME)

    assert [entry.command for entry in log.newest(10)] == ["drain", "resume"]


def test_a_full_disk_is_said(capsys: pytest.CaptureFixture[str], heard: Heard) -> None:
    """And the order is done."""
    with tempfile.TemporaryDirectory() as directory:
        log = Audit(os.path.join(directory, "log"), report=heard)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            log.begin("drain", {}, ME).finish(None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        log.begin("resume", {}, ME)
        assert [entry.command for entry in log.newest(10)] == ["resume"]

    assert "No space left on device; commands still run" in capsys.readouterr().err
    assert len(heard.sentences) == 1


def test_where_the_log_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the state directory unless told; one that was named and cannot be written to is known before anything is served."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    assert Audit.from_setting("", "shop").path == str(tmp_path / "state" / "shop.audit.jsonl")
    assert Audit.from_setting("off", "shop").path == ""
    monkeypatch.chdir(tmp_path)
    assert Audit.from_setting("log", "shop").path == str(tmp_path / "log")
    with pytest.raises(
        ConfigError, match=r"cannot write the audit log /nowhere/log: No such file"
    ) as refused:
        Audit.from_setting("/nowhere/log", "shop")
    assert "--audit-log off" in refused.value.hint


# --- what comes from outside ---


@given(st.text(), st.text(), st.text())
def test_nobody_can_forge_a_line(name: str, value: str, error: str) -> None:
    """One line an entry, in printable ASCII, whatever a parameter or an error says."""
    heard = Heard()
    with_path = os.path.join(os.environ["XDG_STATE_HOME"], "forged")
    os.makedirs(os.path.dirname(with_path), exist_ok=True)
    if os.path.exists(with_path):
        os.unlink(with_path)
    log = Audit(with_path, report=heard)

    log.begin("reload", {name: value}, ME).finish(NotFound(error))

    content = Path(log.path).read_bytes()
    assert content.count(b"\n") == 2
    assert content.isascii()
    assert all(32 <= byte < 127 for byte in content.replace(b"\n", b"").replace(b"\x7f", b""))
    assert written(log)[1]["params"] == {name: value}
    assert heard.sentences[0].isprintable()


def test_a_line_has_an_end(log: Audit) -> None:
    long = "x" * 1_000_000
    params = audit_entry.params_for_log("reload", ReloadParams(check=f"/{long}"))
    log.begin("reload", params, ME).finish(NotFound(long))

    assert all(len(line) < 8192 for line in Path(log.path).read_bytes().splitlines())


def test_what_was_given_is_told_and_secrets_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path's query is where tokens stand; a parameter can be declared secret."""
    assert audit_entry.params_for_log("shutdown", ShutdownParams(progress=True)) == {}
    assert audit_entry.params_for_log("shutdown", ShutdownParams(grace=0.0)) == {"grace": 0.0}
    assert audit_entry.params_for_log("scale", ScaleParams(by=-2)) == {"by": -2}
    assert audit_entry.params_for_log("reload", ReloadParams(check="/health?token=x&a=b")) == {
        "check": "/health?***"
    }

    reload = commands.COMMANDS["reload"]
    declared = tuple(
        param._replace(secret=True) if param.name == "check" else param for param in reload.params
    )
    monkeypatch.setitem(commands.COMMANDS, "reload", reload._replace(params=declared))
    assert audit_entry.params_for_log("reload", ReloadParams(check="/health")) == {"check": "***"}


def test_a_command_line_is_told_without_queries_and_with_its_end_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (
        audit_log.without_query("flaskd_ctl reload --check '/h?token=x' y")
        == "flaskd_ctl reload --check '/h?***' y"
    )
    assert audit_entry.command_line_of(ME)
    assert len(audit_entry.command_line_of(ME)) <= audit_entry.LONGEST
    assert audit_entry.command_line_of(Actor(via="control", key="ci")) == "ci"
    assert audit_entry.command_line_of(Actor(via="control", uid=0, pid=2**22 + 1)) == ""
    assert audit_entry.command_line_of(Actor(via="application", pid=os.getpid())) == ""


def test_a_flood_of_refusals_is_counted(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may only ask must not fill the disk."""
    now = [1000.0]
    monkeypatch.setattr("flaskd.audit.log.time.monotonic", lambda: now[0])
    for _ in range(audit.LIMIT + 50):
        log.refuse("kill", {}, STRANGER, "no", role="viewer")
    assert len(written(log)) == audit.LIMIT

    now[0] += audit.PERIOD + 1
    log.refuse("kill", {}, STRANGER, "no", role="viewer")

    assert len(written(log)) == audit.LIMIT + 1
    assert written(log)[-1]["error"] == "no (and 50 refusals before it, which are not logged)"


def test_a_flood_from_the_application_is_carried_out_and_not_written(log: Audit) -> None:
    by = Actor(via="application", pid=7)
    given = []

    def order() -> Future[None]:
        given.append(1)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    for _ in range(audit.LIMIT + 50):
        log.run("drain", {}, by, order)

    assert len(given) == audit.LIMIT + 50
    assert len(written(log)) == 2 * audit.LIMIT


# --- by the control plane ---


class Asker:
    """A caller, as a transport sees it."""

    def __init__(self, caller: Actor) -> None:
        self.caller = caller
        self.groups: frozenset[int] | None = frozenset()

    async def until_writable(self) -> None:
        pass

    async def until_gone(self) -> None:
        await asyncio.Event().wait()

    def takes_notifications(self) -> bool:
        return True

    async def send(self, message: bytes) -> bool:
        raise NotImplementedError

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        raise NotImplementedError


def ask(
    log: Audit, handler: Any, method: str, *, asker: Actor = ME, rules: Rules | None = None, **params: Any
) -> dict[str, Any]:
    registry = Registry(rules or Rules(owner=os.getuid()), {method: handler}, log)
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = registry.answer(json.dumps(message).encode(), Asker(asker))
    if isinstance(answer, Coroutine):
        answer = asyncio.run(answer)
    return dict(json.loads(answer or b"{}"))


@pytest.mark.parametrize(
    "command", [c for c in commands.COMMANDS.values() if c.changes], ids=lambda c: c.name
)
def test_each_change_is_written_down_with_what_it_said(log: Audit, command: commands.Command) -> None:
    params = golden(command.name)["request"].get("params", {})
    seen: list[list[str]] = []

    async def handler(call: Call[Any]) -> None:
        seen.append([line["outcome"] for line in written(log)])

    ask(log, handler, command.name, **params)

    assert seen == [["begun"]]
    begun, done = written(log)
    assert (begun["command"], begun["role"], done["outcome"]) == (command.name, "admin", "done")


@pytest.mark.parametrize(
    "command", [c for c in commands.COMMANDS.values() if c.changes], ids=lambda c: c.name
)
def test_each_refused_change_is_written_down(log: Audit, command: commands.Command) -> None:
    def handler(call: Call[Any]) -> None:
        raise AssertionError("it was refused")

    assert "error" in ask(log, handler, command.name, asker=STRANGER)
    assert "error" in ask(log, handler, command.name, unheard_of="secret")

    stranger, wrong = written(log)
    assert (stranger["outcome"], stranger["by"]["uid"], stranger["role"]) == ("refused", 54_321, "")
    assert (wrong["outcome"], wrong["params"], wrong["role"]) == ("refused", {}, "admin")
    assert "unheard_of" in wrong["error"]
    assert "secret" not in json.dumps(wrong)


@pytest.mark.parametrize(
    "command", [c for c in commands.COMMANDS.values() if not c.changes], ids=lambda c: c.name
)
def test_questions_are_not_written_down(log: Audit, command: commands.Command) -> None:
    ask(log, lambda call: {}, command.name)
    ask(log, lambda call: {}, command.name, asker=STRANGER)

    assert not os.path.exists(log.path)


def test_what_changes_something_needs_more_than_a_viewer() -> None:
    """And is marked so: a command that was forgotten would be carried out unseen."""
    changing = {name for name, command in commands.COMMANDS.items() if command.changes}
    asking = {name for name, command in commands.COMMANDS.items() if command.role is commands.Role.VIEWER}

    assert not changing & asking
    others = {"app_config", "config", "errors", "history", "logs"}
    assert set(commands.COMMANDS) == changing | asking | others


def test_a_handler_that_fails_at_once_has_failed(log: Audit) -> None:
    def handler(call: Call[Any]) -> None:
        raise NotFound("nothing there")

    assert "error" in ask(log, handler, "kill")
    assert [line["outcome"] for line in written(log)] == ["begun", "failed"]


# --- the journal ---


def test_the_journal_gets_each_order_with_its_fields(tmp_path: Path) -> None:
    """Its own protocol: FIELD=value lines, and a length before a value that has a newline."""
    entry = AuditEntry(
        id="1f",
        at=5.0,
        command="reload",
        params={"check": "/h"},
        by=Actor(via="control", uid=1000, gid=100, pid=7),
        who="flaskd_ctl 'a\nPRIORITY=0'",
        role="operator",
        outcome="failed",
        error="no\nMESSAGE=forged",
        took=1.5,
        user="alice",
    )
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.bind(path)
        there.settimeout(PATIENCE)
        journal.report("shop", entry, audit_entry.summary(entry), path=path)
        fields = parsed(there.recv(65_536))

    assert fields["PRIORITY"] == "4"
    assert fields["SYSLOG_IDENTIFIER"] == "flaskd"
    assert fields["FLASKD_WHO"] == entry.who
    assert fields["FLASKD_ERROR"] == entry.error
    assert fields["MESSAGE"].isprintable()
    told = {
        name.removeprefix("FLASKD_"): value for name, value in fields.items() if name.startswith("FLASKD_")
    }
    assert told | {"WHO": "", "ERROR": ""} == {
        "NAME": "shop",
        "ID": "1f",
        "COMMAND": "reload",
        "OUTCOME": "failed",
        "VIA": "control",
        "UID": "1000",
        "GID": "100",
        "PID": "7",
        "USER": "alice",
        "WHO": "",
        "ROLE": "operator",
        "PARAMS": '{"check": "/h"}',
        "ERROR": "",
        "TOOK": "1.5",
    }


def test_root_is_not_nobody(tmp_path: Path) -> None:
    """A uid of 0 is a uid."""
    entry = golden("history")["reply"]["result"]["entries"][0]
    told = AuditEntry(**entry | {"by": Actor(via="control", uid=0, gid=0, pid=1), "took": 0.0})

    fields = journal.fields_of("shop", told, "said")

    assert (fields["FLASKD_UID"], fields["FLASKD_GID"], fields["FLASKD_TOOK"]) == ("0", "0", "0.0")
    assert "FLASKD_KEY" not in fields


def test_without_a_journal_it_is_said_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = AuditEntry(**golden("history")["reply"]["result"]["entries"][0] | {"by": ME})

    journal.report("shop", entry, "flaskd: it was done", path=str(tmp_path / "nobody"))

    assert capsys.readouterr().err == "flaskd: it was done\n"


def parsed(datagram: bytes) -> dict[str, str]:
    """Read a datagram as journald does."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            name, size = line, int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


# --- the note of the last stop ---

PLACE = "/run/flaskd/shop"


def test_a_stop_is_told_to_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = LastStop(at=5.0, clean=True, why="signal SIGTERM", by=SIGTERM, who="", took=0.5, pid=7)
    with LastStopNote("shop", PLACE) as note:
        assert note.previous is None
        note.stop = stop

    with LastStopNote("shop", PLACE) as note:
        assert note.previous == stop


def test_one_that_was_killed_has_left_no_note() -> None:
    LastStopNote("shop", PLACE).__enter__()  # and never leaves

    with LastStopNote("shop", PLACE) as note:
        assert note.previous == LastStop(at=None, clean=False, why="ended without a note", pid=os.getpid())


def test_one_that_could_not_start_says_why() -> None:
    with pytest.raises(ConfigError), LastStopNote("shop", PLACE):
        raise ConfigError("no such thing")

    with LastStopNote("shop", PLACE) as note:
        assert note.previous
        assert (note.previous.why, note.previous.clean) == ("could not start: no such thing", False)


def test_a_stop_of_one_in_another_place_is_not_ours() -> None:
    with LastStopNote("shop", PLACE) as note:
        note.stop = LastStop(at=5.0, clean=True, why="application")

    with LastStopNote("shop", "/somewhere/else/shop") as note:
        assert note.previous is None


def test_a_note_that_cannot_be_left_keeps_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/proc/nowhere")

    with LastStopNote("shop", PLACE) as note:
        assert note.previous is None
    assert capsys.readouterr().err == ""


def test_an_end_that_the_disk_does_not_take_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The note that is there tells of no end, as if it had been killed; and no half of a new one stays behind."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with LastStopNote("shop", PLACE):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    said = capsys.readouterr().err
    assert said == f"flaskd: cannot write how it ended to {tmp_path}/shop.json: File too large\n"
    assert os.listdir(tmp_path) == ["shop.json"]


@pytest.mark.parametrize(
    ("by", "killed", "why"),
    [
        (ME, False, "shutdown command"),
        (ME, True, "kill command"),
        (SIGTERM, False, "signal SIGTERM"),
        (Actor(via="application", pid=3), False, "application"),
        (Actor(via="code", pid=3), False, "program"),
        (Actor(via="http", detail="werkzeug.server.shutdown"), False, "request (werkzeug.server.shutdown)"),
    ],
)
def test_why_it_stopped(by: Actor, killed: bool, why: str) -> None:
    assert stop_reason(by, killed=killed) == why


def test_the_daemon_and_the_client_read_the_same_log(log: Audit) -> None:
    """What one writes the other finds, field by field."""
    log.begin("scale", {"to": 3}, ME, role="operator").finish(None)

    (read,) = audit_log.newest(log.path, 10)

    assert AuditEntry(**read | {"by": Actor(**read["by"])}) == log.newest(10)[0]


def test_a_key_is_who_asked(log: Audit, heard: Heard) -> None:
    """Over tcp:// there is neither a uid nor a process."""
    rules = Rules(owner=os.getuid(), grants={commands.Role.OPERATOR: (Grant("key", "ci"),)})

    assert "result" in ask(log, lambda call: {}, "drain", asker=CI, rules=rules)
    assert "error" in ask(log, lambda call: {}, "kill", asker=CI, rules=rules)

    _, done, refused = written(log)
    assert (done["by"]["key"], done["who"], done["role"]) == ("ci", "ci", "operator")
    assert (refused["outcome"], refused["who"], refused["by"]["uid"]) == ("refused", "ci", None)
    assert heard.sentences[0].startswith("flaskd: drain asked for by key ci: done in ")
