"""What can be changed while one looks: the question that is asked first, the call, and its outcome in a sentence."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flaskd_ctl.client.session import OnProgress
from flaskd_ctl.live.seen import Row, Seen
from flaskd_ctl.live.watch import Asked
from flaskd_ctl.text import results


class Change(NamedTuple):
    """A change: `question` is asked first; then `method` is called with `params`."""

    method: str
    params: dict[str, Any]
    question: str
    explained: str


class Kind(NamedTuple):
    """A kind of change: its key and label, the command, the panel whose rows it is for, and how a change is made.

    `key` is a key of the terminal, as Textual names it. `make` gives None where it does not apply: a worker to restart that is
    not there, an instance that is draining already.
    """

    key: str
    label: str
    method: str
    make: Callable[[Seen, Row | None], Change | None]
    panel: str | None = None

    @property
    def name(self) -> str:
        """The label as a name, for programs."""
        return self.label.lower()


def _drain(seen: Seen, _row: Row | None) -> Change | None:
    if seen.state == "draining":
        return None
    return Change(
        "drain",
        {},
        f"Take {seen.label} out of rotation?",
        "Its readiness goes off, so balancers send it no new requests. It keeps serving those that come.",
    )


def _resume(seen: Seen, _row: Row | None) -> Change | None:
    if seen.state != "draining":
        return None
    return Change("resume", {}, f"Put {seen.label} back into rotation?", "Its readiness goes on again.")


def _reload(seen: Seen, _row: Row | None) -> Change | None:
    if not seen.status.get("workers"):
        return None
    return Change(
        "reload",
        {},
        f"Reload {seen.label}?",
        "Each worker is replaced by a new one with the code and the settings that are on disk now. No request is lost.",
    )


def _more(seen: Seen, _row: Row | None) -> Change | None:
    return _scale(seen, +1)


def _fewer(seen: Seen, _row: Row | None) -> Change | None:
    return _scale(seen, -1)


def _scale(seen: Seen, by: int) -> Change | None:
    wanted = seen.status.get("wanted_workers") or 0
    if not wanted or wanted + by < 1:
        return None
    return Change("scale", {"by": by}, f"Scale {seen.label} from {wanted} to {wanted + by} workers?", "")


def _restart(seen: Seen, row: Row | None) -> Change | None:
    if row is None or not row.get("worker"):
        return None
    return Change(
        "restart_worker",
        {"worker": row["worker"]},
        f"Restart worker {row['worker']} of {seen.label}?",
        "A new worker is started first; then this one finishes its requests and exits.",
    )


def _cancel(seen: Seen, row: Row | None) -> Change | None:
    if row is None or row.get("id") is None:
        return None
    params = {"id": str(row["id"])} | ({"worker": row["worker"]} if row.get("worker") else {})
    what = f"{row.get('method')} {row.get('path')}"
    return Change(
        "cancel",
        params,
        f"Cancel request {row['id']}, {what}?",
        "An exception is raised in the application's thread. The client gets an error.",
    )


KINDS: Final = [
    Kind("d", "Drain", "drain", _drain),
    Kind("u", "Resume", "resume", _resume),
    Kind("r", "Reload", "reload", _reload),
    Kind("plus", "More", "scale", _more),
    Kind("minus", "Fewer", "scale", _fewer),
    Kind("w", "Restart", "restart_worker", _restart, "workers"),
    Kind("c", "Cancel", "cancel", _cancel, "requests"),
]
"""The changes, in the order of their keys in the footer."""

SHORT: Final = ("drain", "resume", "cancel")
"""Commands that are answered at once."""


async def ask(source: Asked, change: Change, on_progress: OnProgress) -> str:
    """Carry out a change, and return the outcome in a sentence; raises ControlError."""
    if change.method in SHORT:
        result = await source.call(change.method, change.params)
    else:
        result = await source.follow(change.method, change.params, on_progress)
    return results.as_text(change.method, result).partition("\n")[0]
