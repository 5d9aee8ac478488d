"""The control server: both transports on one asyncio loop, the supervisor's, or for a `Server` one on a thread of its own.

It answers whenever its loop can run. Ending it loses no reply: what is under way is finished and flushed first, for at
most a second a slow peer can delay it.
"""

import asyncio
import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

from flaskd.control.access.policy import Rules
from flaskd.control.claim import Claim
from flaskd.control.commands import Commands
from flaskd.control.registry import Registry
from flaskd.control.transports.plain import PlainPeer
from flaskd.control.transports.router import Router
from flaskd.control.upkeep import Upkeep
from flaskd.operable import Operable

if TYPE_CHECKING:
    from flaskd.control.tcp.endpoints import TcpEndpoints
    from flaskd.settings.schema import Settings
    from flaskd_ctl.contract.endpoint import Place

FLUSH_TIME: Final = 1.0  # seconds that slow peers get at the end
TURNS: Final = 4  # of the loop, in which asyncio makes an accepted socket a connection and reads from it

log = logging.getLogger("flaskd.control")


class ControlServer:
    """Serves a daemon's commands at a claimed place, and over TCP if it is given a `remote`; from `open` to `close`."""

    def __init__(
        self, claim: Claim, instance: Operable, rules: Rules, *, remote: "TcpEndpoints | None" = None
    ) -> None:
        self._claim = claim
        self._remote = remote
        self._registry = Registry(rules, audit=instance.audit)
        self._commands = Commands(instance)
        self._commands.register(self._registry)
        self._peers: set[PlainPeer] = set()

    async def open(self) -> None:
        """Begin to answer; returns when all transports do, raises what kept them from it."""
        self._loop = asyncio.get_running_loop()
        self._router = Router(self._registry)
        self._router.open(self._claim.zmq, self._claim.place.zmq)
        await self._open_plain()
        if self._remote is not None:
            await self._remote.open(self._registry)
        self._upkeep = Upkeep(self._claim.place.directory, self._missing, self._renew)
        self._upkeep.open()

    def set_rules(self, rules: Rules) -> None:
        """Go by other rules from now on; see `Registry.set_rules`."""
        self._registry.set_rules(rules)

    @property
    def serving(self) -> bool:
        """Whether both transports take commands."""
        return self._plain.is_serving() and self._router.receiving

    async def close(self) -> None:
        """Finish what is under way, send every reply, end the streams; returns when all is closed."""
        self._upkeep.close()
        self._claim.withdraw()
        await self._stop_accepting(self._plain, self._stream)
        self._router.stop_receiving()
        if self._remote is not None:
            await self._remote.stop_accepting()
        self._commands.end_streams()
        await self._flush()
        self._router.close()
        if self._remote is not None:
            await self._remote.close(timeout=FLUSH_TIME)

    async def _open_plain(self) -> None:
        self._stream = self._claim.stream
        self._plain = await self._loop.create_unix_server(
            lambda: PlainPeer(self._registry, self._peers), sock=self._stream, backlog=128
        )

    async def _stop_accepting(self, plain: asyncio.Server, stream: socket.socket) -> None:
        """Accept no more, and read once what has come: a server closed at once would leak a connection it just accepted."""
        self._loop.remove_reader(stream)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        plain.close()

    def _missing(self) -> list[str]:
        return [*self._claim.missing(), *(self._remote.missing() if self._remote else [])]

    async def _renew(self) -> None:
        """Make anew what was removed from our place, and serve there; connections that are open go on. Raises FlaskdError."""
        zmq, plain, stream = self._claim.zmq, self._plain, self._stream
        try:
            self._claim.renew()
        finally:  # also if only some of it could be made
            if self._claim.zmq is not zmq:
                self._router.listen(self._claim.zmq, self._claim.place.zmq)
            if self._claim.stream is not stream:
                await self._open_plain()
                await self._stop_accepting(plain, stream)
        if self._remote is not None:
            self._remote.renew()

    async def _flush(self) -> None:
        """Wait until no peer is owed anything, or the flush time has passed."""
        until = self._loop.time() + FLUSH_TIME
        owed = set(self._router.tasks) | {task for peer in self._peers for task in peer.tasks}
        if self._remote is not None:
            owed |= self._remote.tasks
        if owed:
            await asyncio.wait(owed, timeout=FLUSH_TIME)
        for peer in list(self._peers):
            peer.close()
        leaving = {asyncio.ensure_future(peer.closed.wait()) for peer in self._peers}
        if leaving:
            await asyncio.wait(leaving, timeout=max(0.0, until - self._loop.time()))
        for peer in list(self._peers):
            peer.abort()


class ControlThread:
    """A control server on a loop and a thread of its own, from `start` to `stop`."""

    def __init__(self, server: ControlServer) -> None:
        self._server = server
        self._serving = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="flaskd-control", daemon=True)

    def start(self) -> None:
        """Begin to answer; returns when it does, raises what kept it from that."""
        self._thread.start()
        self._serving.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Close the server, losing no reply, and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # the thread's outer edge
            if self._serving.is_set():
                log.exception("the control server failed")
            self._failure = error
            self._serving.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await self._server.open()
        self._serving.set()
        await self._stopping.wait()
        await self._server.close()


def tcp_endpoints(settings: "Settings", place: "Place") -> "TcpEndpoints | None":
    """Return the tcp:// endpoints that are set, not yet bound; None where there are none, which is what most pay for."""
    if not settings.control_endpoints:
        return None
    from flaskd.control.tcp.endpoints import TcpEndpoints

    return TcpEndpoints(
        settings.control_endpoints, key=settings.curve_key, authorized=settings.authorized_keys, place=place
    )
