"""What is set holds until it is unset or its time is over, whatever else happens."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from flaskd.audit.log import Audit
from flaskd.errors import ConfigError
from flaskd.settings.checks import check_together
from flaskd.settings.schema import FIELDS, SETTINGS, Settings
from flaskd.settings.sources import ReadSettings
from flaskd.tasks import Level, Ordered, Task, Tune
from flaskd.tuning.levels import LEVELS
from flaskd.tuning.overrides import MOST_LEVELS, Override
from flaskd.tuning.tuner import Tuner
from flaskd_ctl.errors import InvalidParams, NotFound, WrongState
from flaskd_ctl.protocol import Actor, AuditEntry, Setting

ME = Actor(via="control", uid=0)


class Instance:
    """Notes what it is told; `tuner` changes it."""

    audit: Audit

    def __init__(self, settings: Settings, *, engine: str = "waitress", workers: int | None = 2) -> None:
        self.engine = engine
        self.wanted_workers = workers
        self.scaled_workers: Override | None = None
        self.used: list[Settings] = []
        self.sent: list[Task] = []
        self.entries: list[AuditEntry] = []
        self.audit = Audit("", report=lambda entry, _: self.entries.append(entry))
        self.read = ReadSettings(settings, {"grace": "flaskd.toml, line 1"})
        self.tuner = Tuner(self.read, self, own_levels=True)

    def read_files(self) -> ReadSettings | None:
        return self.read

    def check_live(self, settings: Settings) -> None:
        check_together(settings)

    def use_live(self, settings: Settings, tune: Tune) -> None:
        self.used.append(settings)

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        self.sent.append(task)
        return []

    def shown(self, name: str, files: ReadSettings | None = None) -> Setting:
        return next(each for each in self.tuner.config(files).settings if each.name == name)


@pytest.fixture
def instance() -> Instance:
    return Instance(Settings(app="shop:app", workers="2", grace=20.0))


def on_a_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 20))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_value_is_used_and_its_source_is_told(instance: Instance) -> None:
    """With the value before, and where that came from."""
    told = instance.tuner.set("grace", "60", seconds=None, by=ME)

    assert (told.value, told.was, told.was_source) == (60.0, 20.0, "flaskd.toml, line 1")
    assert [each.grace for each in instance.used] == [60.0]
    assert instance.shown("grace") == Setting("grace", 60.0, "set", "set")


def test_unset_brings_back_what_was_read(instance: Instance) -> None:
    """Once more, it changes nothing and is no error."""
    instance.tuner.set("grace", 60, seconds=None, by=ME)
    instance.tuner.set("grace", 70, seconds=None, by=ME)

    told, again = instance.tuner.unset("grace"), instance.tuner.unset("grace")

    assert (told.value, told.source, told.was, told.changed) == (20.0, "flaskd.toml, line 1", 70.0, True)
    assert (again.value, again.changed) == (20.0, False)
    assert [each.grace for each in instance.used] == [60.0, 70.0, 20.0]


@pytest.mark.parametrize(
    ("key", "value", "error", "said", "hint"),
    [
        ("grase", 1, NotFound, "there is no setting 'grase'", "similar: grace"),
        ("\x1b[2J", 1, NotFound, r"there is no setting '\x1b[2J'", "lists them"),
        ("grace", "soon", InvalidParams, "grace cannot be 'soon': expected seconds", ""),
        ("grace", "nan", InvalidParams, "grace cannot be 'nan'", ""),
        ("grace", -1, InvalidParams, "grace cannot be -1", ""),
        ("threads", 1.5, InvalidParams, "threads cannot be 1.5: expected a whole number", ""),
        ("bind", "x", WrongState, "bind cannot change while it runs: it takes a restart", "restart the"),
        ("check", "/x", WrongState, "check cannot change while it runs: it takes a reload", "reload`"),
        ("workers", 3, WrongState, "`set` does not change workers", "use `flaskd_ctl scale`"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_changes_nothing(
    key: str, value: object, error: type[Exception], said: str, hint: str, instance: Instance
) -> None:
    """Unknown, wrong, or not while it runs; with the next step."""
    with pytest.raises(error) as raised:
        instance.tuner.set(key, value, seconds=5, by=ME)

    assert said in str(raised.value)
    assert hint in raised.value.hint  # type: ignore[attr-defined]
    assert not instance.used
    assert instance.tuner.tune() is None


def test_a_value_that_does_not_go_with_the_others_is_refused() -> None:
    """As in the files."""
    instance = Instance(Settings(ledger=False))
    with pytest.raises(InvalidParams, match="--max-requests needs --ledger; nothing was changed"):
        instance.tuner.set("max_requests", 5, seconds=None, by=ME)
    assert not instance.used


@pytest.mark.parametrize("name", [name for name, each in SETTINGS.items() if each.live])
def test_every_live_setting_can_be_set_to_what_it_is(name: str) -> None:
    """A value of each is one that a process can be told: a number, for workers."""
    instance = Instance(Settings())
    instance.tuner.set(name, FIELDS[name].default, seconds=None, by=ME)
    tune = instance.tuner.tune()
    assert tune is not None
    assert list(tune.settings) == ([name] if SETTINGS[name].live == "workers" else [])
    assert all(isinstance(value, int | float) for value in tune.settings.values())


def test_a_value_reverts_by_itself(instance: Instance) -> None:
    """The workers are told, and the audit log says that nobody did it."""

    async def work() -> None:
        told = instance.tuner.set("grace", 60, seconds=0.01, by=ME)
        assert told.until is not None
        await until(lambda: instance.entries)

    on_a_loop(work)

    assert [each.grace for each in instance.used] == [60.0, 20.0]
    (entry,) = instance.entries
    assert (entry.command, entry.params, entry.outcome) == (
        "unset",
        {"setting": "grace", "value": 20.0, "was": 60.0},
        "done",
    )
    assert entry.by.detail == "itself after 10 ms"
    (sent,) = instance.sent
    assert isinstance(sent, Tune)
    assert sent.settings == {}


def test_a_second_value_has_its_own_time_only(instance: Instance) -> None:
    """The timer of the first is gone, also where the second has none."""

    async def work() -> None:
        instance.tuner.set("grace", 60, seconds=0.01, by=ME)
        instance.tuner.set("grace", 70, seconds=None, by=ME)
        instance.tuner.set("linger", 1, seconds=0.01, by=ME)
        instance.tuner.unset("linger")
        instance.tuner.set("lame_duck", 1, seconds=0.05, by=ME)
        await until(lambda: instance.entries)

    on_a_loop(work)

    assert [entry.params["setting"] for entry in instance.entries] == ["lame_duck"]
    assert instance.shown("grace").value == 70.0


def test_a_reload_keeps_what_is_set_and_its_time(instance: Instance) -> None:
    """What it reverts to is what the reload has read."""

    async def work() -> None:
        instance.tuner.set("grace", 60, seconds=0.01, by=ME)
        instance.tuner.use_read(ReadSettings(Settings(grace=25.0), {}))
        assert instance.tuner.with_set(Settings(grace=25.0)).grace == 60.0
        await until(lambda: instance.entries)

    on_a_loop(work)

    assert instance.used[-1].grace == 25.0


def test_a_process_is_told_everything_at_once_with_a_later_number(instance: Instance) -> None:
    """So it does not matter which change reaches it first, or that it missed one."""
    instance.tuner.set("threads", 8, seconds=None, by=ME)
    first = instance.tuner.tune()
    instance.tuner.set("grace", 5, seconds=None, by=ME)
    instance.tuner.set("lame_duck", 3, seconds=None, by=ME)  # the supervisor's alone
    instance.tuner.set_level("root", "DEBUG", worker=3, seconds=None, by=ME)
    second = instance.tuner.tune()

    assert first is not None
    assert second is not None
    assert second.settings == {"threads": 8, "grace": 5.0}
    assert second.levels == [Level("", "DEBUG", 3)]
    assert second.serial > first.serial


def test_config_compares_with_what_the_files_say_now(instance: Instance) -> None:
    """And says what takes the new value."""
    files = ReadSettings(
        Settings(app="shop:app", workers="2", grace=25.0, threads=8, backlog=1, linger=0.5),
        {"grace": "flaskd.toml, line 7"},
    )
    instance.tuner.set("grace", 60, seconds=None, by=ME)
    instance.tuner.set("linger", 2, seconds=None, by=ME)

    shown = {each.name: each for each in instance.tuner.config(files).settings if each.takes}

    assert {name: (each.now, each.takes) for name, each in shown.items()} == {
        "grace": (25.0, "unset and reload"),
        "linger": (0.5, "unset"),
        "threads": (8, "reload"),
        "backlog": (1, "restart"),
    }
    assert shown["grace"].now_source == "flaskd.toml, line 7"


def test_config_shows_the_number_of_workers_that_was_scaled(instance: Instance) -> None:
    """A reload keeps it, so the files do not differ. A number that came by itself is not the operator's."""
    instance.wanted_workers = 5
    assert instance.shown("workers").source == "default"
    instance.scaled_workers = Override("5", ME, until=1_700_000_000.5)
    shown = instance.shown("workers", instance.read)
    assert (shown.value, shown.source, shown.change, shown.takes) == ("5", "scale", "scale", "")
    assert shown.until == 1_700_000_000.5


def test_config_without_the_files_still_shows_what_runs(instance: Instance) -> None:
    """With why they cannot be read."""
    shown = instance.tuner.config(None, error="cannot read flaskd.toml: it is no TOML")
    assert shown.files_error == "cannot read flaskd.toml: it is no TOML"
    assert len(shown.settings) == len(FIELDS)
    assert not any(each.takes for each in shown.settings)


@pytest.mark.parametrize(
    ("app", "shown"),
    [
        ("shop:create_app(token='abc', debug=True)", "shop:create_app(token=***, debug=True)"),
        ("shop:create_app('postgres://me:pw@db/x')", "shop:create_app('postgres://***@db/x')"),
        ("shop:\udcff", "shop:\\udcff"),
        ("a" * 3000, "a" * 1000 + "…"),
    ],
)
def test_config_shows_no_secret_and_nothing_that_json_cannot_have(app: str, shown: str) -> None:
    """The arguments of a factory may be secrets; a file with a key is only a place."""
    instance = Instance(Settings(app=app, tls_key="/etc/shop/key.pem"))
    assert instance.shown("app").value == shown
    assert instance.shown("tls_key").value == "/etc/shop/key.pem"


def test_levels_are_set_in_the_daemon_for_its_own_loggers(instance: Instance) -> None:
    """And for the root; not for the application's, nor if only a worker is meant."""
    own, other = logging.getLogger("flaskd.control"), logging.getLogger("tests.other")
    before = own.level, other.level
    try:
        assert instance.tuner.set_level("flaskd.control", "DEBUG", worker=None, seconds=None, by=ME).daemon
        assert not instance.tuner.set_level("tests.other", "DEBUG", worker=None, seconds=None, by=ME).daemon
        assert not instance.tuner.set_level("flaskd", "DEBUG", worker=1, seconds=None, by=ME).daemon
        assert (own.level, other.level) == (logging.DEBUG, before[1])

        told = instance.tuner.set_level("flaskd.control", "default", worker=None, seconds=None, by=ME)

        assert (told.was, own.level) == ("DEBUG", before[0])
    finally:
        LEVELS.use({})


def test_a_level_reverts_by_itself(instance: Instance) -> None:
    """As a setting does."""

    async def work() -> None:
        instance.tuner.set_level("tests.other", "DEBUG", worker=None, seconds=0.01, by=ME)
        await until(lambda: instance.entries)

    on_a_loop(work)

    (entry,) = instance.entries
    assert entry.params == {"logger": "tests.other", "level": "default", "was": "DEBUG"}
    (sent,) = instance.sent
    assert isinstance(sent, Tune)
    assert not sent.levels


def test_what_was_set_for_a_worker_ends_with_it(instance: Instance) -> None:
    """Another one never has its id."""
    instance.tuner.set_level("a", "DEBUG", worker=3, seconds=None, by=ME)
    instance.tuner.set_level("a", "INFO", worker=None, seconds=None, by=ME)
    assert instance.tuner.level_set("a", 3) == ("DEBUG", None)

    instance.tuner.forget_worker(3)

    assert instance.tuner.level_set("a", 3) == ("INFO", None)


def test_the_number_of_levels_is_bounded(instance: Instance) -> None:
    """Each process holds them."""
    for number in range(MOST_LEVELS):
        instance.tuner.set_level(f"a{number}", "DEBUG", worker=None, seconds=None, by=ME)
    with pytest.raises(WrongState, match="levels are set already"):
        instance.tuner.set_level("one more", "DEBUG", worker=None, seconds=None, by=ME)
    instance.tuner.set_level("a1", "INFO", worker=None, seconds=None, by=ME)


@pytest.mark.parametrize(
    ("text", "level"), [("debug", "DEBUG"), ("Warning", "WARNING"), ("default", "default")]
)
def test_levels_are_named_in_any_case(text: str, level: str, instance: Instance) -> None:
    assert instance.tuner.level(text) == level


@pytest.mark.parametrize("text", ["", "FOO", "10", "NOTSET", "disable", "getLogger"])
def test_an_unknown_level_is_refused(text: str, instance: Instance) -> None:
    """With those that there are."""
    with pytest.raises(InvalidParams, match="there is no level") as raised:
        instance.tuner.level(text)
    assert "DEBUG, INFO" in raised.value.hint


def test_an_error_in_what_is_used_is_no_end_of_the_timer(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit log has it as a failure."""

    def refuse(settings: Settings, tune: Tune) -> None:
        raise ConfigError("no more")

    async def work() -> None:
        instance.tuner.set("grace", 60, seconds=0.01, by=ME)
        monkeypatch.setattr(instance, "use_live", refuse)
        await until(lambda: instance.entries)

    on_a_loop(work)
    assert [(entry.outcome, entry.error) for entry in instance.entries] == [("failed", "no more")]
