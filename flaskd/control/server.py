"""The control server: all transports on one asyncio loop, the supervisor's or, for a `Server`, one on a thread of its own.

It answers whenever its loop runs. Closing it loses no reply: requests under way finish and their replies are sent first. Slow
peers can delay this by FLUSH_TIME.
"""

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from flaskd.control.access.policy import Rules
from flaskd.control.claim import Claim
from flaskd.control.handlers import Handlers
from flaskd.control.registry import Registry
from flaskd.control.transports.local import FLUSH_TIME, LocalServer
from flaskd.control.upkeep import Upkeep
from flaskd.guard import log_failure, warn_once
from flaskd.operable import Operable
from flaskd.process.kernel import refused_to_event_loops

if TYPE_CHECKING:
    from flaskd.control.tcp.endpoints import TcpEndpoints, TcpServer, TcpSettings
    from flaskd.settings.schema import Settings
    from flaskd_ctl.contract.endpoint import Place

log = logging.getLogger("flaskd.control")


class ControlServer:
    """Serves the commands of `instance` at a claimed place, and over TCP if given `tcp`; from `open` to `close`."""

    def __init__(
        self, claim: Claim, instance: Operable, rules: Rules, *, tcp: "TcpEndpoints | None" = None
    ) -> None:
        self._claim = claim
        self._tcp = tcp
        handlers = Handlers(instance)
        self._streams = handlers.streams
        self._registry = Registry(rules, handlers.by_name, instance.audit)
        self._transports: list[LocalServer | TcpServer] = []
        self._upkeep: Upkeep | None = None

    async def open(self) -> None:
        """Start to answer. Returns when all transports do; raises what prevents one."""
        local = LocalServer(self._registry, lines=self._claim.stream, zmtp=self._claim.zmq)
        self._transports.append(local)
        tcp = None
        if self._tcp is not None and (refused := refused_to_event_loops()):  # libzmq would abort the process
            warn_once(f"the tcp:// endpoints are off: libzmq cannot run here ({refused})")
        elif self._tcp is not None:
            tcp = await self._tcp.open(self._registry)
            self._transports.append(tcp)
        renew = functools.partial(self._renew, local, tcp)
        self._upkeep = Upkeep(self._claim.place.directory, self._missing, renew)
        self._upkeep.open()

    def set_rules(self, rules: Rules) -> None:
        """Use other access rules from the next request on."""
        self._registry.set_rules(rules)

    @property
    def serving(self) -> bool:
        """Whether all transports take requests."""
        return bool(self._transports) and all(each.serving for each in self._transports)

    async def close(self) -> None:
        """Finish the requests under way, send every reply, end the streams, and close."""
        if self._upkeep is not None:
            with log_failure("end the watch over the control sockets"):
                await self._upkeep.close()
        with log_failure("withdraw from the name"):
            self._claim.withdraw()
        for transport in self._transports:
            with log_failure("stop taking requests"):
                await transport.stop_accepting()
        self._streams.end()
        if tasks := {task for transport in self._transports for task in transport.tasks}:
            await asyncio.wait(tasks, timeout=FLUSH_TIME)
        for transport in self._transports:
            with log_failure("close a transport"):
                await transport.close()

    def _missing(self) -> list[str]:
        return [*self._claim.missing(), *(self._tcp.missing() if self._tcp else [])]

    async def _renew(self, local: LocalServer, tcp: "TcpServer | None") -> None:
        """Create again what was removed from our place, and serve there. Raises FlaskdError."""
        try:
            self._claim.renew()
        finally:  # also if only some of it could be created
            local.listen(lines=self._claim.stream, zmtp=self._claim.zmq)
        if self._tcp is not None and tcp is not None:
            self._tcp.renew(tcp)


@contextlib.contextmanager
def control_thread(server: ControlServer) -> Iterator[None]:
    """Run `server` on a loop and thread of its own. Entering returns when it answers, or raises what prevents it.

    Leaving closes the server, which loses no reply, and ends the thread.
    """
    opened: Future[Callable[[], object]] = Future()
    thread = threading.Thread(target=_run, args=(server, opened), name="flaskd-control", daemon=True)
    thread.start()
    stop = opened.result()
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has failed
            stop()
        thread.join()


def _run(server: ControlServer, opened: "Future[Callable[[], object]]") -> None:
    try:
        asyncio.run(_serve(server, opened))
    except BaseException as error:  # the thread's outer edge
        if opened.done():
            log.exception("the control server failed")
        else:
            opened.set_exception(error)


async def _serve(server: ControlServer, opened: "Future[Callable[[], object]]") -> None:
    """Serve until the function that `opened` gets is called."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    await server.open()
    opened.set_result(lambda: loop.call_soon_threadsafe(stopping.set))
    await stopping.wait()
    await server.close()


@contextlib.contextmanager
def tcp_endpoints(settings: "Settings", place: "Place") -> "Iterator[TcpEndpoints | None]":
    """Bind the tcp:// endpoints in the settings, and close them on leaving; None if there are none."""
    checked = check_tcp(settings, place)
    if checked is None:
        yield None
        return
    from flaskd.control.tcp.endpoints import TcpEndpoints

    with TcpEndpoints.bind(checked) as endpoints:
        yield endpoints


def check_tcp(settings: "Settings", place: "Place") -> "TcpSettings | None":
    """Check the settings of tcp:// endpoints; None if there are none, and then nothing is imported."""
    if not settings.control_endpoints:
        return None
    from flaskd.control.tcp.endpoints import TcpSettings

    return TcpSettings.check(
        settings.control_endpoints, key=settings.curve_key, authorized=settings.authorized_keys, place=place
    )
