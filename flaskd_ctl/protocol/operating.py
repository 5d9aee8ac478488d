"""Commands that change an instance, and their outcomes."""

import msgspec

from flaskd_ctl.protocol.status import InFlight
from flaskd_ctl.protocol.wire import Duration, Params, Path, Positive, Seconds


class ShutdownParams(Params, frozen=True, forbid_unknown_fields=True):
    """How long requests may take to finish. None: the setting of the daemon."""

    grace: Seconds | None = None
    lame_duck: Seconds | None = None
    wait_unrouted: Seconds | None = None
    progress: bool = False


class ReloadParams(Params, frozen=True, forbid_unknown_fields=True):
    """`check`: a path that each new worker must answer, in its own process, before it accepts connections."""

    check: Path | None = None
    progress: bool = False


class ScaleParams(Params, frozen=True, forbid_unknown_fields=True):
    """The number of workers (`to`), how many to add or remove (`by`, not 0), or `auto`: exactly one of the three.

    `auto` gives the number back to the setting `workers`. `for`: seconds after which that happens by itself, not with `auto`.
    """

    to: Positive | None = None
    by: int | None = None
    auto: bool = False
    for_: Duration | None = msgspec.field(default=None, name="for")
    progress: bool = False


class RestartParams(Params, frozen=True, forbid_unknown_fields=True):
    """The id of the worker to replace."""

    worker: Positive
    progress: bool = False


class StateResult(msgspec.Struct, frozen=True):
    """The state after `drain` or `resume`; `changed` is false if it was so before."""

    state: str
    since: float
    ready: bool
    changed: bool


class ReloadResult(msgspec.Struct, frozen=True):
    """New workers serve; the old ones accept nothing more and exit when they have finished their requests.

    `generation` is the new one, `replaced` counts the old workers, `workers` the ones that serve. `took`: seconds. `joined`:
    another reload was waiting or in progress, and this one joined it. `changed` names the settings that have a new value,
    `needs_restart` those of them that take effect only after a restart of the daemon. `overridden` names settings that have
    changed in the files without effect, because `set` has given them another value.
    """

    generation: int
    replaced: int
    workers: int
    took: float
    joined: bool
    changed: list[str]
    needs_restart: list[str]
    overridden: list[str] = []


class ScaleResult(msgspec.Struct, frozen=True):
    """`workers` serve; `was` is the number wanted before. `took`: seconds.

    `until` is when the setting `workers` decides again; null: not before the instance ends, or at once after `auto`.
    """

    workers: int
    was: int
    took: float
    until: float | None = None


class RestartResult(msgspec.Struct, frozen=True):
    """The new `worker` serves and the `replaced` one accepts nothing more (ids). `took`: seconds."""

    worker: int
    replaced: int
    took: float


class ShutdownResult(msgspec.Struct, frozen=True):
    """The outcome of a shutdown.

    `clean`: nothing was cut. `cut`: requests that were still in flight at the deadline; `connections_cut`: connections closed
    with a request unanswered or a response unfinished, including those of `cut`; `queued_cut`: connections in the accept
    queue at the deadline. `answered`: requests finished since the shutdown began. `took`: seconds until nothing was left.
    `joined`: another shutdown was already in progress. `process_exits`: the process `pid` exits next (false for a Server
    inside a program). `workers_lost`: workers that died during the stop; their requests are in `cut` as far as they are
    known.
    """

    clean: bool
    cut: list[InFlight]
    connections_cut: int
    queued_cut: int
    answered: int
    took: float
    grace: float
    joined: bool
    pid: int
    process_exits: bool
    workers_lost: int = 0


class KillResult(msgspec.Struct, frozen=True):
    """The end has begun; this is sent before anything is closed."""

    pid: int
    process_exits: bool
