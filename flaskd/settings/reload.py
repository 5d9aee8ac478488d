"""Settings that are read again while the instance runs: what a reload changes, and what needs a restart. Pure."""

from typing import NamedTuple

import msgspec

from flaskd.settings.schema import SETTINGS, Settings


class Rereading(NamedTuple):
    """The settings after a reload, the names of those that were changed, and of these the ones that need a restart."""

    settings: Settings
    changed: list[str]
    needs_restart: list[str]


def take_over(before: Settings, now: Settings) -> Rereading:
    """Use the values of `now`, except for settings that need a restart."""
    values = msgspec.structs.asdict(before)
    changed = [name for name, value in values.items() if getattr(now, name) != value]
    waiting = [name for name in changed if needs_restart(name, values[name], getattr(now, name))]
    settings = msgspec.structs.replace(now, **{name: values[name] for name in waiting})
    return Rereading(settings, changed, waiting)


def needs_restart(name: str, before: object, now: object) -> bool:
    """Tell whether only a restart changes a setting from `before` to `now`."""
    restart = SETTINGS[name].restart
    return restart == "to change" or (restart == "to switch" and bool(before) != bool(now))
