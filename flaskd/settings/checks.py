"""Check settings: each value by itself, then whether they go together."""

import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Meta

from flaskd.engines.choice import choose
from flaskd.errors import ConfigError
from flaskd.settings.developing import check_developing
from flaskd.settings.schema import FIELDS, SETTINGS, Settings, option
from flaskd.settings.workers import MOST_WORKERS, bounds, is_range

TYPES: Final = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
"""What people call the types of msgspec's messages."""


def check(name: str, value: Any, source: str) -> Any:
    """Convert `value` to the setting's type. Raises ConfigError naming the setting, the value and its source."""
    if name not in FIELDS:
        from flaskd.settings.elsewhere import instead

        hint = instead(name, str, assign="") or f"the settings are {', '.join(FIELDS)}"
        raise ConfigError(f"{source}: there is no setting {name!r}", hint=hint)
    if isinstance(FIELDS[name].default, tuple) and isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if SETTINGS[name].numeric and type(value) is int:
        value = str(value)
    try:
        return msgspec.convert(value, FIELDS[name].type, strict=False)
    except msgspec.ValidationError as error:
        given = ", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
        raise ConfigError(
            f"{source}: {name} cannot be {given}: expected {_expected(name, str(error))}"
        ) from None


def check_together(settings: Settings) -> Settings:
    """Return `settings` if they can be used together, else raise ConfigError."""
    engine = choose(settings.engine, tls=bool(settings.tls_cert))
    for name in _changed(settings):
        declared = SETTINGS[name]
        missing = " and ".join(option(other) for other in declared.requires if not getattr(settings, other))
        if missing:
            hint = f"add {missing}, or leave out {option(name)}" + (
                f"; {declared.how}" if declared.how else ""
            )
            raise ConfigError(f"{option(name)} needs {missing}", hint=hint)
        if engine.name not in declared.engines:
            raise ConfigError(
                f"{option(name)} does not work with the {engine.name} engine ({engine.why})",
                hint=f"use --engine {' or '.join(declared.engines)}, or leave out {option(name)}",
            )
    if settings.dev:
        check_developing(settings)
    if is_range(settings.workers):
        _check_range(settings)
    if settings.max_worker_memory != "0" and not os.path.exists("/proc/self/statm"):
        raise ConfigError("--max-worker-memory needs Linux: it reads /proc", hint="leave it out")
    if settings.preload and sys.platform != "linux":
        raise ConfigError(
            "--preload needs Linux: only there a process can adopt what another forks (prctl(2))",
            hint="leave it out",
        )
    return settings


def _check_range(settings: Settings) -> None:
    minimum, maximum = bounds(settings.workers, MOST_WORKERS)
    if minimum > maximum:
        raise ConfigError(
            f"--workers {settings.workers}: the minimum is larger than the maximum",
            hint=f"use --workers {maximum}..{minimum}",
        )
    if not settings.ledger:
        raise ConfigError(
            f"--workers {settings.workers} needs the ledger: the number follows the requests that it counts",
            hint="leave out --no-ledger, or use a fixed number of workers",
        )


def check_alone(settings: Settings) -> Settings:
    """Return `settings` if one process without a supervisor can use them, else raise ConfigError."""
    for name in _changed(settings):
        if SETTINGS[name].workers_only:
            raise ConfigError(
                f"{name} is for workers, and this server has none: it serves in one process",
                hint="leave it out, or use `flaskd run`",
            )
    return check_together(settings)


def _changed(settings: Settings) -> Iterator[str]:
    """List the settings that differ from their defaults."""
    return (name for name, field in FIELDS.items() if getattr(settings, name) != field.default)


def _expected(name: str, message: str) -> str:
    """Say which values a setting takes: as its type describes them, else from msgspec's message, bounds included."""
    for meta in FIELDS[name].type.__metadata__:
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    words = message.partition(" - at")[0].removeprefix("Expected ").partition(", got")[0]
    for kind, meant in TYPES.items():
        words = words.replace(f"`{kind}`", meant)
    return words
