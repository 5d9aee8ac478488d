"""Changes settings and levels of loggers while an instance runs, and back when their time is over.

What is set holds until it is unset, its time is over, or the instance ends; a reload keeps it. The processes that run the
application are told everything that is set at once (`tasks.Tune`), also those that come later: so it does not matter which of
two changes reaches one first, or whether it missed one.

All of it happens on the loop of the control server, the timers too.
"""

import contextlib
from typing import Any, Final, NoReturn, Protocol

import msgspec

from flaskd.audit.log import Audit
from flaskd.errors import FlaskdError
from flaskd.guard import log_failure
from flaskd.settings.checks import check
from flaskd.settings.schema import FIELDS, SETTINGS, Settings
from flaskd.settings.sources import ReadSettings
from flaskd.tasks import Ordered, Task, Tune
from flaskd.tuning import levels
from flaskd.tuning.overrides import MOST_LEVELS, Key, Override, Overrides
from flaskd.tuning.shown import how_to_change, is_live, table
from flaskd_ctl.contract.times import span
from flaskd_ctl.errors import InvalidParams, NotFound, WrongState
from flaskd_ctl.protocol import Actor, ConfigResult, LogLevelResult, SetResult, Setting

DEFAULT: Final = "default"
"""In place of a level: as before."""

OURS: Final = "flaskd"
"""The logger above those of the daemon itself."""


class User(Protocol):
    """Uses what is set: a daemon or a `Server`."""

    @property
    def engine(self) -> str:
        """The name of the engine."""

    @property
    def audit(self) -> Audit:
        """The audit log."""

    @property
    def wanted_workers(self) -> int | None:
        """How many workers are to serve; None where one process serves."""

    @property
    def scaled_workers(self) -> Override | None:
        """The number of workers that an operator has set; None if that is not so."""

    def check_live(self, settings: Settings) -> None:
        """Raise FlaskdError if these settings cannot be used while it runs."""

    def use_live(self, settings: Settings, tune: Tune) -> None:
        """Use these settings in this process, and let processes that start later have them."""

    def order_task(self, task: Task, worker: int | None) -> list[Ordered]:
        """See `Operable.order_task`."""

    def read_files(self) -> ReadSettings | None:
        """Read the settings again, on any thread; None if they come from no file. Raises FlaskdError."""


class Tuner:
    """Knows the settings that an instance runs with: what was `read`, and what was set in its place.

    `own_levels`: levels of loggers are for this process too; not if it is told of them as one that runs the application.
    """

    def __init__(self, read: ReadSettings, user: User, *, own_levels: bool) -> None:
        self._read = read
        self._user = user
        self._own_levels = own_levels
        self._overrides = Overrides(self._over)
        self._reloads = user.wanted_workers is not None

    def with_set(self, settings: Settings) -> Settings:
        """Return these settings with what is set in their place."""
        return msgspec.structs.replace(settings, **self._overrides.settings())

    def names_set(self) -> list[str]:
        """Return the names of the settings that are set."""
        return list(self._overrides.settings())

    def use_read(self, read: ReadSettings) -> None:
        """Take note of the settings that a reload has read; what is set stays."""
        self._read = read

    def forget_worker(self, worker: int) -> None:
        """Drop what was set for a worker that is gone."""
        self._overrides.forget_worker(worker)

    def tune(self) -> Tune | None:
        """Return what tells a process of everything that is set; None if nothing was ever set."""
        return self._tune() if self._overrides.changed else None

    def tells_workers(self, key: str) -> bool:
        """Tell whether the processes that run the application have to be told of this setting."""
        return SETTINGS[key].live == "workers"

    def read_files(self) -> ReadSettings | None:
        """See `User.read_files`."""
        return self._user.read_files()

    def config(self, files: ReadSettings | None, *, error: str = "") -> ConfigResult:
        """Describe each setting; `files` is what the files say now, or `error` says why that is not known."""
        return ConfigResult(self._table(files), error)

    def set(self, key: str, value: object, *, seconds: float | None, by: Actor) -> SetResult:
        """Set a setting, for some seconds or for good. Raises NotFound, InvalidParams or WrongState, with nothing changed."""
        name = self._settable(key)
        was, was_source = self._now(name)
        try:
            new = check(name, value, "set")
            settings = msgspec.structs.replace(self.with_set(self._read.settings), **{name: new})
            self._user.check_live(settings)
        except FlaskdError as error:
            _refuse(error)
        override = self._overrides.put(Key(name), new, by=by, seconds=seconds)
        self._apply()
        return SetResult(name, new, was, "set", was_source, until=override.until)

    def unset(self, key: str) -> SetResult:
        """Let a setting be as it was read. Raises NotFound for an unknown one."""
        name = _known(key)
        was, was_source = self._now(name)
        dropped = self._overrides.drop(Key(name))
        if dropped is not None:
            self._apply()
        value, source = self._now(name)
        return SetResult(name, value, was, source, was_source, changed=dropped is not None)

    def level(self, text: str) -> str:
        """Return the name of a level, or "default". Raises InvalidParams."""
        level = DEFAULT if text.lower() == DEFAULT else levels.level_named(text)
        if level is None:
            raise InvalidParams(
                f"there is no level {text!r}",
                hint=f"the levels are {', '.join(levels.NAMES)}; {DEFAULT} is the logger's own",
                data={"path": "params.level"},
            )
        return level

    def knows(self, logger: str, worker: int | None) -> bool:
        """Tell whether a logger needs not be looked for in other processes: a level is set, or it is our own."""
        key = Key(levels.logger_named(logger), logger=True, worker=worker or 0)
        return not key.name or self._overrides.get(key) is not None or self._is_own(key)

    def set_level(
        self, logger: str, level: str, *, worker: int | None, seconds: float | None, by: Actor
    ) -> LogLevelResult:
        """Give a logger a level, or "default". Raises WrongState if very many have one."""
        key = Key(levels.logger_named(logger), logger=True, worker=worker or 0)
        before, until = self._overrides.get(key), None
        if level == DEFAULT:
            self._overrides.drop(key)
        else:
            if before is None and len(self._overrides.levels()) >= MOST_LEVELS:
                raise WrongState(
                    f"{MOST_LEVELS} levels are set already", hint=f"give one its own back: {DEFAULT}"
                )
            until = self._overrides.put(key, level, by=by, seconds=seconds).until
        self._apply()
        return LogLevelResult(
            logger=logger,
            level=level,
            was=before.value if before is not None else "",
            worker=worker,
            until=until,
            daemon=self._is_own(key),
        )

    def level_set(self, logger: str, worker: int) -> tuple[str, float | None] | None:
        """Return the level that is set for a logger ("" is the root) in a worker, and until when."""
        for key in (Key(logger, logger=True, worker=worker), Key(logger, logger=True)):
            if (override := self._overrides.get(key)) is not None:
                return override.value, override.until
        return None

    def close(self) -> None:
        """Give the loggers of this process their own levels back: it may go on without us."""
        levels.LEVELS.use({})

    def _settable(self, key: str) -> str:
        name = _known(key)
        declared, engine = SETTINGS[name], self._user.engine
        if not self._reloads and declared.workers_only:
            raise WrongState(f"{name} is for workers, and this instance is one process", hint="leave it out")
        if is_live(name, engine):
            return name
        how = how_to_change(name, engine, reloads=self._reloads)
        why = f"{name} cannot change while it runs" + (f" with the {engine} engine" if declared.live else "")
        next_step = {
            "reload": "change it where `flaskd_ctl config` says that it comes from, then `flaskd_ctl reload`",
            "restart": "change it where `flaskd_ctl config` says that it comes from, then restart the instance",
        }
        if how not in next_step:
            raise WrongState(f"`set` does not change {name}", hint=f"use `{declared.command}`")
        raise WrongState(f"{why}: it takes a {how}", hint=next_step[how])

    def _now(self, name: str) -> tuple[Any, str]:
        """Return the value of a setting now, as it may be shown, and its source."""
        now = next(each for each in self._table(None) if each.name == name)
        return now.value, now.source

    def _table(self, files: ReadSettings | None) -> list[Setting]:
        overrides = {name: self._held(name) for name in self.names_set()}
        return table(
            self._read,
            files,
            overrides=overrides,
            engine=self._user.engine,
            reloads=self._reloads,
            scaled=self._user.scaled_workers,
        )

    def _held(self, name: str) -> Override:
        held = self._overrides.get(Key(name))
        assert held is not None
        return held

    def _tune(self) -> Tune:
        return self._overrides.task(self.tells_workers)

    def _apply(self) -> None:
        """Use what is set in this process."""
        tune = self._tune()
        self._user.use_live(self.with_set(self._read.settings), tune)
        if self._own_levels:
            own = [each for each in tune.levels if self._is_own(Key(each.logger, worker=each.worker))]
            levels.LEVELS.use({each.logger: each.level for each in own})

    def _is_own(self, key: Key) -> bool:
        ours = not key.name or key.name == OURS or key.name.startswith(f"{OURS}.")
        return self._own_levels and ours and not key.worker and levels.exists(key.name)

    def _over(self, key: Key, override: Override) -> None:
        """Take note that a time is over: use what holds now, tell the workers, write it to the audit log."""
        by = Actor(via="code", detail=f"itself after {span(override.seconds or 0.0)}")
        if key.logger:
            logger = key.name or levels.ROOT
            command, params = "log_level", {"logger": logger, "level": DEFAULT, "was": override.value}
        else:
            value, _ = self._now(key.name)
            command, params = "unset", {"setting": key.name, "value": value, "was": override.value}
        with log_failure("go back to what was before"), self._user.audit.begin(command, params, by):
            self._apply()
            if key.logger or self.tells_workers(key.name):
                self._send(key.worker or None)

    def _send(self, worker: int | None) -> None:
        """Tell the workers; one that hangs reads it when it goes on."""
        with contextlib.suppress(
            WrongState, NotFound
        ):  # none serves: those that come have it from their start
            self._user.order_task(self._tune(), worker)


def _known(key: str) -> str:
    """Return the name of a setting. Raises NotFound with similar names."""
    name = key.strip().removeprefix("--").replace("-", "_")
    if name in FIELDS:
        return name
    near = levels.closest(name, FIELDS)
    hint = f"similar: {', '.join(near)}" if near else "`flaskd_ctl config` lists them"
    raise NotFound(f"there is no setting {key[:100]!r}", hint=hint)


def _refuse(error: FlaskdError) -> NoReturn:
    raise InvalidParams(
        f"{error}; nothing was changed", hint=error.hint, data={"path": "params.value"}
    ) from None
