"""The transport to another host for asyncio; `curve` says how it is made."""

import asyncio
import time
from typing import Self

from flaskd_ctl.contract.endpoint import Target
from flaskd_ctl.transports.absence import Absence, Ask
from flaskd_ctl.transports.aio_zeromq import AsyncZeroMQConnection
from flaskd_ctl.transports.curve import EVENTS, HANDSHAKE, knock, options_for, refused, unfinished
from flaskd_ctl.transports.zeromq import ENDS


class AsyncCurveConnection(AsyncZeroMQConnection):
    """A connection to an instance of another host; raises EOFError when the peer is gone."""

    _target: Target
    _ask: Ask

    @classmethod
    async def reach(cls, target: Target, *, deadline: float, ask: Ask) -> Self:
        """Connect and shake hands; raise as `curve.CurveConnection` does. Names are looked up in a thread."""
        options = options_for(target)
        url = await asyncio.to_thread(knock, target, deadline=deadline)
        connection = cls(target.endpoint.path, None, url=url, options=options, events=EVENTS)
        connection._target = target
        connection._ask = ask
        try:
            await connection._shake_hands(deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _shake_hands(self, deadline: float) -> None:
        while (left := deadline - time.monotonic()) > 0:
            await self._monitor.poll(int(min(left, 86_400.0) * 1000) + 1)
            while self._plain_monitor.poll(0):
                event = self._hear_monitor()
                if event & HANDSHAKE:
                    return
                if event & ENDS:
                    raise await asyncio.to_thread(refused, self._target, event, deadline=deadline)
        raise unfinished(self._target)

    def departure(self) -> Absence:
        """Watch for the end of what listens there."""
        return Absence(self._target, self._ask)
