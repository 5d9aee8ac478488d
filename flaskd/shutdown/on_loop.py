"""An owner on an asyncio loop, which has other things to do besides."""

import asyncio
import time
from collections.abc import Callable

from flaskd.guard import log_failure
from flaskd.shutdown.mailbox import Mailbox
from flaskd.shutdown.owner import Ask, Owner
from flaskd_ctl.protocol import ShutdownResult


class OwnerOnLoop:
    """Gives `owner` its turns on the running loop, until `close`; `stopped` completes with how the stop went.

    `after_turn` is called after each turn.
    """

    def __init__(self, owner: Owner, mailbox: Mailbox[Ask | None], *, after_turn: Callable[[], None]) -> None:
        self._owner = owner
        self._after_turn = after_turn
        self._loop = asyncio.get_running_loop()
        self._descriptor = mailbox.read_descriptor()
        self._timer: asyncio.TimerHandle | None = None
        self.stopped: asyncio.Future[ShutdownResult] = self._loop.create_future()
        self._loop.add_reader(self._descriptor, self._turn)

    def close(self) -> None:
        """Give it no turn any more."""
        self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()

    def _turn(self) -> None:
        if self.stopped.done():
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            result = self._owner.turn(0)
        except BaseException as error:
            self.stopped.set_exception(error)
            raise
        with log_failure("see how the instance is"):
            self._after_turn()
        if result is not None:
            self.stopped.set_result(result)
        elif self._owner.look_again is not None:
            wait = max(0.0, self._owner.look_again - time.monotonic())
            self._timer = self._loop.call_later(wait, self._turn)
