"""`AsyncClient`: operate an instance from asyncio.

    async with AsyncClient("shop") as shop:
        async for event in shop.events():
            print(event)

A call that is cancelled closes its connection; a shutdown that has begun continues.
"""

from flaskd_ctl.client.base import BaseClient
from flaskd_ctl.transports.asyncio_backend import Asyncio


class AsyncClient(BaseClient):
    """A client of one instance for asyncio; see `Client` for what the parameters and the methods mean.

    Calls of several tasks take turns. `events` and commands that take longer have connections of their own. If you leave the
    loop over `events` early, close it (`contextlib.aclosing`).
    """

    _backend = Asyncio()
