"""Whether an application that is loaded can be forked (--preload)."""

from typing import Final

from flaskd.errors import LoadError
from flaskd.process.fork_hazards import ForkHazards

HINT: Final = (
    "start threads and open connections in --post-load, which runs in each worker, or end them in --pre-fork"
)


def check_forkable(target: str, hazards: ForkHazards) -> None:
    """Raise LoadError if the application has started threads or opened connections; `hazards` were made before it."""
    if found := hazards.found():
        raise LoadError(f"cannot preload {target}: a fork would break {'; '.join(found)}", hint=HINT)
