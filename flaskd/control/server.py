"""The control server: all transports on one asyncio loop, the supervisor's, or for a `Server` one on a thread of its own.

It answers whenever its loop can run. Ending it loses no reply: what is under way is finished and flushed first, for at
most FLUSH_TIME a slow peer can delay it.
"""

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Final

from flaskd.control.access.policy import Rules
from flaskd.control.claim import Claim
from flaskd.control.commands import Commands
from flaskd.control.registry import Registry
from flaskd.control.transports.local import Local
from flaskd.operable import Operable

if TYPE_CHECKING:
    from flaskd.control.tcp.endpoints import TcpEndpoints
    from flaskd.settings.schema import Settings
    from flaskd_ctl.contract.endpoint import Place

FLUSH_TIME: Final = 0.5  # seconds that slow peers get at the end

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

    async def open(self) -> None:
        """Begin to answer; returns when all transports do, raises what kept them from it."""
        self._local = Local(self._registry)
        self._local.open(lines=self._claim.stream, zmtp=self._claim.zmq)
        if self._remote is not None:
            await self._remote.open(self._registry)

    def set_rules(self, rules: Rules) -> None:
        """Go by other rules from now on; see `Registry.set_rules`."""
        self._registry.set_rules(rules)

    @property
    def serving(self) -> bool:
        """Whether commands are taken."""
        return self._local.serving

    async def close(self) -> None:
        """Finish what is under way, send every reply, end the streams; returns when all is closed."""
        loop = asyncio.get_running_loop()
        end = loop.time() + FLUSH_TIME
        await self._local.stop_accepting()
        if self._remote is not None:
            await self._remote.stop_accepting()
        self._commands.end_streams()
        owed = self._local.tasks | (self._remote.tasks if self._remote is not None else set())
        if owed:
            await asyncio.wait(owed, timeout=FLUSH_TIME)
        await self._local.close(timeout=max(0.0, end - loop.time()))
        if self._remote is not None:
            await self._remote.close(timeout=max(0.1, end - loop.time()))


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
