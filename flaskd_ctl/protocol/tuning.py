"""Settings of a running instance, levels of loggers, and what code it runs."""

from typing import Annotated

import msgspec

from flaskd_ctl.protocol.diagnosis import FromWorker
from flaskd_ctl.protocol.wire import Duration, Params, Positive

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Value = bool | int | float | str | list[str]


class SetParams(Params, frozen=True, forbid_unknown_fields=True):
    """The `setting` gets `value`, which may be a text as on the command line; `for`: only for so many seconds."""

    setting: Text
    value: int | float | Text
    for_: Duration | None = msgspec.field(default=None, name="for")


class UnsetParams(Params, frozen=True, forbid_unknown_fields=True):
    """The setting that gets the value of the command line, the environment and the files back."""

    setting: Text


class SetResult(msgspec.Struct, frozen=True):
    """A setting has the value `value` in place of `was`.

    `source` and `was_source` say where the two come from. `until` is when it reverts by itself, null: not. `changed` is false
    if there was nothing to unset. `workers` are the processes that had to be told, each with an `error` if it did not reply.
    """

    setting: str
    value: Value
    was: Value
    source: str
    was_source: str
    changed: bool = True
    until: float | None = None
    workers: list[FromWorker] = []


class Setting(msgspec.Struct, frozen=True):
    """One setting of the running instance.

    `source`: where its value comes from: an option, an environment variable, a file with the line, the program, "default",
    "set" or "scale". `until`: when a value that was set reverts by itself. `change`: how to change it: "set" (while it runs),
    "scale", "reload" or "restart". If it would have another value when it is read again, `now` is that value, `now_source` its
    source, and `takes` what makes it hold: "reload", "restart", or "unset", or "unset and reload".
    """

    name: str
    value: Value
    source: str
    change: str
    until: float | None = None
    now: Value | None = None
    now_source: str = ""
    takes: str = ""


class ConfigResult(msgspec.Struct, frozen=True):
    """All settings. `files_error` says why the settings could not be read again; then nothing is known of `now`."""

    settings: list[Setting]
    files_error: str = ""


class Release(msgspec.Struct, frozen=True):
    """Code on disk: its directory, with symbolic links resolved, and git's commit and branch ("" if there are none).

    `modified` is when the application's own file was changed. `dirty`: files that git knows differ from the commit; null if
    that is not known.
    """

    directory: str
    commit: str = ""
    branch: str = ""
    modified: float | None = None
    dirty: bool | None = None


class LoadedCode(msgspec.Struct, frozen=True):
    """What these `workers` (0: the process of a `Server`) have loaded.

    `release` is as it was then, but for `dirty`. `packages` have the versions that were installed then, `changed` those that
    are installed now, "" for one that is gone; `more` packages are left out. `newer`: other code is on disk now.
    """

    workers: list[int]
    python: str
    executable: str
    release: Release
    packages: dict[str, str]
    more: int = 0
    changed: dict[str, str] = {}
    newer: bool = False


class InfoResult(msgspec.Struct, frozen=True):
    """The code that runs. `loaded` has one entry for workers that have loaded the same, the newest workers first.

    `on_disk` is what a new worker would load; null if that is not known, because the application is installed as a package, or
    because of `on_disk_error`. `workers` are those that did not reply, or (`error`) more than are listed.
    """

    name: str
    app: str
    flaskd: str
    platform: str
    loaded: list[LoadedCode]
    on_disk: Release | None = None
    on_disk_error: str = ""
    workers: list[FromWorker] = []


class LogLevelParams(Params, frozen=True, forbid_unknown_fields=True):
    """The `logger` ("root" is the one above all others) gets this `level` in every process, or in one `worker`.

    `level`: DEBUG, INFO, WARNING, ERROR or CRITICAL; "default" gives it its own level back. `for`: only for so many seconds.
    """

    level: Text
    logger: Text = "root"
    worker: Positive | None = None
    for_: Duration | None = msgspec.field(default=None, name="for")


class LogLevelResult(msgspec.Struct, frozen=True):
    """The logger has this level now, until a time or until it is set again; "default" is its own.

    `was` is the level that was set before, "" if none was. `daemon`: the supervisor's own logger has it too.
    """

    logger: str
    level: str
    was: str
    worker: int | None = None
    until: float | None = None
    daemon: bool = False
    workers: list[FromWorker] = []


class LoggerLevel(msgspec.Struct, frozen=True):
    """A logger with a level of its own in these workers (0: the process of a `Server`).

    `source`: "set" by `log_level`, with `until`, or "application".
    """

    logger: str
    level: str
    source: str
    workers: list[int]
    until: float | None = None


class LogLevelsResult(msgspec.Struct, frozen=True):
    """The loggers with levels of their own; `more` are left out. `workers` are those that did not reply."""

    levels: list[LoggerLevel]
    more: int = 0
    workers: list[FromWorker] = []
