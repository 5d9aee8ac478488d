"""Settings read anew while the instance runs: what holds from the next worker on, and what only after a restart. Pure."""

from typing import Final, NamedTuple

import msgspec

from flaskd.settings.schema import Settings

NEEDS_RESTART: Final = frozenset(
    {"app", "bind", "name", "runtime_dir", "backlog", "control", "health", "agent", "audit_log"}
    | {"control_endpoints", "curve_key", "authorized_keys"}
)
"""What the supervisor itself has used."""

TLS: Final = ("tls_cert", "tls_key")


class Rereading(NamedTuple):
    """The settings to go on with, the names of those that were changed, and of these those that have to wait."""

    settings: Settings
    changed: list[str]
    needs_restart: list[str]


def take_over(before: Settings, now: Settings) -> Rereading:
    """Use `now`, but for what holds for the whole life of a daemon. Certificates may change; HTTPS stays, or stays off."""
    fixed = NEEDS_RESTART | (set(TLS) if bool(before.tls_cert) != bool(now.tls_cert) else set())
    values = msgspec.structs.asdict(before)
    changed = [name for name, value in values.items() if getattr(now, name) != value]
    waiting = [name for name in changed if name in fixed]
    settings = msgspec.structs.replace(now, **{name: values[name] for name in waiting})
    return Rereading(settings, changed, waiting)
