"""The settings of a running instance as `config` shows them. Pure."""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from flaskd.http.secrets import MASK, looks_secret, mask_users
from flaskd.settings.reload import needs_restart
from flaskd.settings.schema import FIELDS, SETTINGS
from flaskd.settings.sources import ReadSettings
from flaskd.tuning.overrides import Override
from flaskd_ctl.protocol import Setting, Value

PATHS: Final = {"FILE", "DIR"}
"""The value of a setting with this metavar is where a secret is, not the secret."""

LONGEST: Final = 1000
MOST_PARTS: Final = 100

_ARGUMENT: Final = re.compile(r"""(\w+)\s*=\s*("[^"]*"|'[^']*'|[^,()\s]+)""")


def table(
    running: ReadSettings,
    files: ReadSettings | None,
    *,
    overrides: Mapping[str, Override],
    engine: str,
    reloads: bool,
    scaled: Override | None = None,
) -> list[Setting]:
    """Describe each setting. `files` is what would be read now, None if that is not known.

    `engine` is the name of the engine, `reloads` whether the instance can be reloaded, `scaled` the number of workers if an
    operator has set one.
    """

    def described(name: str) -> Setting:
        value, source, until = getattr(running.settings, name), running.place(name), None
        if (override := overrides.get(name)) is not None:
            value, source, until = override.value, "set", override.until
        elif name == "workers" and scaled is not None:
            value, source, until = scaled.value, "scale", scaled.until
        found = Setting(name, shown(name, value), source, how_to_change(name, engine, reloads=reloads), until)
        if files is None:
            return found
        now = getattr(files.settings, name)
        return _compared(found, running, now, shown(name, now), files.place(name)) if now != value else found

    return [described(name) for name in FIELDS]


def _compared(found: Setting, running: ReadSettings, now: Any, text: Value, place: str) -> Setting:
    """Add what a setting would be, unless that is already so but for what an operator has done."""
    name, base = found.name, getattr(running.settings, found.name)
    if found.source == "scale" and now == base:
        return found
    takes = "restart" if needs_restart(name, base, now) else "reload"
    if found.source == "set":
        takes = "unset" if now == base else "unset and reload"
    return Setting(name, found.value, found.source, found.change, found.until, text, place, takes)


def how_to_change(name: str, engine: str, *, reloads: bool) -> str:
    """Say what changes a setting: "set", "scale", "reload" or "restart"."""
    declared = SETTINGS[name]
    if is_live(name, engine):
        return "set"
    if not reloads or declared.restart == "to change":
        return "restart"
    return declared.command.removeprefix("flaskd_ctl ") or "reload"


def is_live(name: str, engine: str) -> bool:
    """Tell whether a setting can change while this engine serves."""
    return bool(SETTINGS[name].live) and engine in SETTINGS[name].live_engines


def shown(name: str, value: Any) -> Value:
    """Return a value as it may be shown: no longer than that, in characters that JSON can have, without secrets."""
    if isinstance(value, tuple):
        parts = [_text(name, each) for each in value[:MOST_PARTS]]
        return parts if len(parts) == len(value) else [*parts, f"… and {len(value) - len(parts)} more"]
    if isinstance(value, bool | int | float):
        return value
    return _text(name, str(value))


@functools.lru_cache(maxsize=256)  # each `status` shows the name of the application
def _text(name: str, text: str) -> str:
    if text and looks_secret(name) and SETTINGS[name].metavar not in PATHS:
        return MASK
    text = mask_users(text)
    if name == "app":  # a factory's arguments
        text = _ARGUMENT.sub(lambda pair: f"{pair[1]}={MASK}" if looks_secret(pair[1]) else pair[0], text)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
