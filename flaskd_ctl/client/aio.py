"""`AsyncClient`: operate an instance from asyncio.

    async with AsyncClient("shop") as shop:
        async for event in shop.events():
            print(event)

A call that is cancelled closes its connection; a shutdown that has begun continues in the daemon.
"""

from flaskd_ctl.client.base import BaseClient
from flaskd_ctl.transports.asyncio_backend import Asyncio


class AsyncClient(BaseClient):
    """A client of one instance for asyncio; see `Client` for what the parameters and the methods mean.

    Calls of several tasks take turns on one connection; `events`, and what takes longer than an answer, use connections of
    their own. Close `events` (`contextlib.aclosing`) when you leave the loop early.
    """

    _backend = Asyncio()
