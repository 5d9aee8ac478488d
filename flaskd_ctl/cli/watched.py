"""Which instances `top` and `web` watch."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from flaskd_ctl.cli.run import Run
from flaskd_ctl.client.session import RESPONSE_TIMEOUT
from flaskd_ctl.discovery.instances import Instances
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
    except Ambiguous:
        return _all_that_run(run.instances)
    if run.endpoint or run.name:
        return [NamedTarget(target.name, run.target)]
    # This one, also if it is another one that runs later.
    return [NamedTarget(target.name, partial(run.instances.target, target.name))]


def _all_that_run(instances: Instances) -> list[NamedTarget]:
    """Return the instances of this host; one that shares its name with another is called by its directory."""
    found = [each for each in instances.all() if each.runs]
    count = Counter(each.name for each in found)
    return [
        NamedTarget(each.name, partial(instances.target, each.name))
        if count[each.name] == 1
        else NamedTarget(each.place.directory, partial(instances.target, endpoint=each.endpoint.url))
        for each in sorted(found, key=lambda each: (each.name, each.place.directory))
    ]


def source(run: Run, target: NamedTarget) -> Source:
    """Make what asks an instance."""
    from flaskd_ctl.live.source import Source

    return Source(target.label, target.find, timeout=run.timeout or RESPONSE_TIMEOUT)
