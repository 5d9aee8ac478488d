"""A daemon that does what it is told: real sockets, scripted answers, both transports.

    fake.on("status", lambda call: call.reply(STATUS | {"state": "draining"}))

What is not scripted is answered as the golden messages on disk have it. It lives in the test's own process, so it says
`process_exits: false` unless the script says otherwise; `child.py` is the one that is a process.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from flaskd_ctl.contract.endpoint import Place

GOLDEN = Path(__file__).parent.parent / "golden"
PATIENCE = 20.0


def golden(method: str) -> dict[str, Any]:
    """Return the result that the golden message of `method` has."""
    result: dict[str, Any] = json.loads((GOLDEN / f"{method}.json").read_text())["reply"]["result"]
    return result


CLEAN: dict[str, Any] = golden("shutdown") | {
    "clean": True,
    "cut": [],
    "connections_cut": 0,
    "took": 0.4,
    "process_exits": False,
}
CUT: dict[str, Any] = golden("shutdown") | {"process_exits": False}


def notifications(method: str) -> list[dict[str, Any]]:
    """Return the events that the golden messages of `method` have."""
    notes = json.loads((GOLDEN / f"{method}.json").read_text()).get("notifications", [])
    return [note["params"]["event"] for note in notes]


PROGRESS: dict[str, Any] = notifications("shutdown")[0]


def state_event(was: str, state: str) -> dict[str, Any]:
    """Make the event of one move."""
    return {"event": "state", "at": 1767225600.25, "was": was, "state": state, "by": None}


class Call:
    """One request that came, and the means to answer it."""

    def __init__(self, fake: "Fake", request: dict[str, Any], say: Callable[[bytes], None]) -> None:
        self.fake = fake
        self.id = request.get("id")
        self.method: str = request["method"]
        self.params: dict[str, Any] = request.get("params", {})
        self._say = say

    def raw(self, message: bytes) -> None:
        """Send bytes as they are."""
        self._say(message)

    def reply(self, result: Any) -> None:
        """Answer."""
        self._send({"id": self.id, "result": result})

    def refuse(self, name: str, message: str = "no", *, code: int = -32005, **data: Any) -> None:
        """Answer with an error."""
        self._send(
            {"id": self.id, "error": {"code": code, "message": message, "data": {"name": name, **data}}}
        )

    def note(self, event: dict[str, Any], *, method: str = "event") -> None:
        """Send a notification that belongs to this call."""
        self._send({"method": method, "params": {"id": self.id, "event": event}})

    def progress(self, **changes: Any) -> None:
        """Send a progress notification."""
        self.note(PROGRESS | changes, method="progress")

    def steps(self) -> None:
        """Send the progress that the golden messages have."""
        for event in notifications(self.method):
            self.note(event, method="progress")

    def _send(self, message: dict[str, Any]) -> None:
        self.raw(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


Answer = Callable[[Call], None]


class Fake:
    """The base of both: a context manager that listens in a thread of its own."""

    scheme = ""

    def __init__(self, place: Place, *, path: str = "", info: bool = True) -> None:
        self.place = place
        self.path = path
        self.calls: list[Call] = []
        self.asked = threading.Event()
        self._answers: dict[str, Answer] = {}
        self._threads: list[threading.Thread] = []
        os.makedirs(place.directory, mode=0o700, exist_ok=True)
        if info:
            Path(place.instance_file).write_text(
                json.dumps({"name": place.name, "pid": os.getpid(), "started": 1.0})
            )

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{self.scheme}://{self.path}"

    def on(self, method: str, answer: Answer) -> Self:
        """Script the answer to a method."""
        self._answers[method] = answer
        return self

    def listens(self) -> bool:
        """Tell whether a connect would succeed."""
        with socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(self.path) == 0

    def __enter__(self) -> Self:
        self.listen()
        self.start(self.serve)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def start(self, work: Callable[..., None], *args: Any) -> None:
        """Run in a thread that is joined at the end."""
        self._threads.append(threading.Thread(target=work, args=args))
        self._threads[-1].start()

    def handle(self, message: bytes, say: Callable[[bytes], None]) -> None:
        """Answer one request."""
        call = Call(self, json.loads(message), say)
        self.calls.append(call)
        self.asked.set()
        if call.method in self._answers:
            self._answers[call.method](call)
        elif call.method == "shutdown":
            call.progress()
            call.reply(CLEAN)
            self.die()
        elif call.method == "kill":
            call.reply(golden("kill") | {"process_exits": False})
            self.die()
        else:
            if call.params.get("progress"):
                call.steps()
            call.reply(golden(call.method) | ({"process_exits": False} if call.method == "status" else {}))

    def listen(self) -> None:
        """Begin to listen."""
        raise NotImplementedError

    def serve(self) -> None:
        """Answer until closed."""
        raise NotImplementedError

    def die(self) -> None:
        """Stop listening and hang up, when the answer under way has been sent."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening and hang up."""
        raise NotImplementedError


class StreamFake(Fake):
    """On the plain stream."""

    scheme = "unix"

    def __init__(self, place: Place, *, path: str = "", info: bool = True) -> None:
        super().__init__(place, path=path or place.sock, info=info)
        self._links: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def listen(self) -> None:
        self._listener.bind(self.path)
        self._listener.listen(16)

    def serve(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                break
            self._links.append(link)
            if self._listener.fileno() < 0:  # closed since: nobody else would end this one
                link.close()
                break
            self.start(self._converse, link)

    def _converse(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            for line in link.makefile("rb"):
                self.handle(line, link.sendall)

    def die(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    close = die


class RouterFake(Fake):
    """On ZeroMQ."""

    scheme = "ipc"

    def __init__(self, place: Place, *, path: str = "", info: bool = True) -> None:
        super().__init__(place, path=path or place.zmq, info=info)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._wake, self._woken = socket.socketpair()
        self._dying = False

    def listen(self) -> None:
        self._router.bind(self.url)

    def serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._woken, zmq.POLLIN)
        while not self._dying:
            if self._router not in dict(poller.poll()):
                break
            peer, *_, message = self._router.recv_multipart()

            def say(answer: bytes, peer: bytes = peer) -> None:
                self._router.send_multipart([peer, answer])

            self.handle(message, say)
        # What was sent must reach the peer first: that is what a linger is for.
        self._router.close(linger=2000)
        self._context.term()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def die(self) -> None:
        self._dying = True

    def close(self) -> None:
        self._wake.close()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._woken.close()


FAKES: dict[str, type[Fake]] = {"unix": StreamFake, "ipc": RouterFake}
