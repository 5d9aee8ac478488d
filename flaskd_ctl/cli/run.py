"""One run of `flaskd_ctl`: its shared options, and what each command does with them: find the instance, ask, show.

For a quick start nothing here imports msgspec, asyncio or (for the plain stream) zmq, and a module that only some commands need
is imported by those. The same holds for the modules of the commands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flaskd_ctl.cli.exits import Exit
from flaskd_ctl.cli.screen import Screen
from flaskd_ctl.client.session import OnProgress, ask
from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.text import results
from flaskd_ctl.transports import backend
from flaskd_ctl.transports.backend import BLOCKING

if TYPE_CHECKING:
    from flaskd_ctl.discovery.targets import NamedTarget

PROGRAM: Final = "flaskd_ctl"
COMPLETE_VAR: Final = "_FLASKD_CTL_COMPLETE"


class Run:
    """The shared options of one run, and the screen that it writes to."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.endpoint: str | None = None
        self.key: str | None = None
        self.server_key: str | None = None
        self.runtime_dir: str | None = None
        self.timeout: float | None = None
        self.targets: tuple[str, ...] = ()
        self.max_parallel: int | None = None
        self.stop_on_failure = False
        self.chosen: NamedTarget | None = None  # the one of the targets that this run is for
        self.screen = Screen()

    @property
    def instances(self) -> Instances:
        """The instances to choose from."""
        return Instances(self.runtime_dir)

    def target(self) -> Target:
        """Find the instance that the options name."""
        if self.chosen is not None:
            return self.chosen.find()
        keys = {"key": self.key, "server_key": self.server_key}
        return self.instances.target(self.name, endpoint=self.endpoint, **keys)

    def ask(self, target: Target, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the instance and return the result."""
        return backend.run(ask(BLOCKING, target, method, params, whole=self.timeout))

    def follow(
        self,
        target: Target,
        method: str,
        params: dict[str, Any],
        *,
        whole: float | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any] | None:
        """Ask for what may take long and return the result; without `wait`, None once it has begun.

        `whole` is the limit of the whole command in seconds. Default: --timeout.
        """
        from flaskd_ctl.client.following import follow

        whole = self.timeout if whole is None else whole
        following = follow(BLOCKING, target, method, params, whole=whole, wait=wait, on_progress=on_progress)
        return backend.run(following)

    def show(self, method: str, result: dict[str, Any]) -> Exit:
        """Write the result of `method`."""
        self.screen.result(result, results.as_text(method, result, colour=self.screen.colour))
        return Exit.DONE


@contextlib.contextmanager
def remark_on_interrupt(run: Run, name: str, method: str) -> Iterator[None]:
    """Say on Ctrl-C that the instance continues."""
    try:
        yield
    except KeyboardInterrupt:
        run.screen.remark(f"Stopped waiting; {name} continues the {method.replace('_', '-')}")
        raise
