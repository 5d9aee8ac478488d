"""Which instances `top` and `web` watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flaskd_ctl.cli.run import Run
from flaskd_ctl.client.session import RESPONSE_TIMEOUT
from flaskd_ctl.discovery.targets import Keys, NamedTarget, choose
from flaskd_ctl.errors import Ambiguous, BadPlace

if TYPE_CHECKING:
    from flaskd_ctl.live.source import Source

SHORTEST: Final = 0.2
"""Seconds between two looks, at least."""


def choose_watched(run: Run) -> list[NamedTarget]:
    """Find the instances: the targets, the one that is named, or all that run."""
    if run.targets:
        if run.name or run.endpoint:
            other = "--name" if run.name else "--endpoint"
            raise BadPlace(f"--target does not go together with {other}", hint="give one of them")
        return choose(run.targets, run.instances, keys=Keys(run.key, run.server_key))[0]
    try:
        target = run.target()
    except Ambiguous as error:
        return choose(error.data["names"], run.instances, keys=Keys(run.key, run.server_key))[0]
    return [NamedTarget(target.name, run.target)]


def source(run: Run, target: NamedTarget) -> Source:
    """Make what asks an instance."""
    from flaskd_ctl.live.source import Source

    return Source(target.label, target.find, timeout=run.timeout or RESPONSE_TIMEOUT)
