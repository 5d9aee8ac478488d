"""The control plane of a running server: what it answers, whom it refuses, and what bad peers cost."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, example, given, settings, strategies as st

from flaskd import Server
from flaskd.control.access.shares import Places
from flaskd.control.transports import connection, local
from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.protocol import MAX_MESSAGE
from tests.flaskd.conftest import WAIT, App, Http, Wire
from tests.support.needs import requires

Serve = Callable[..., Server]
Connect = Callable[[Server], Wire]

NOBODY = 65534


@pytest.fixture
def zmq_socket() -> Iterator[Callable[..., Any]]:
    """Open ZeroMQ sockets connected to a server; all are closed at the end."""
    context = zmq.Context()
    opened: list[Any] = []

    def open_one(server: Server, kind: int = zmq.DEALER) -> Any:
        sock = context.socket(kind)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.RCVTIMEO, int(WAIT * 1000))
        sock.connect(server.endpoints[0])
        opened.append(sock)
        return sock

    yield open_one
    for sock in opened:
        sock.close()
    context.term()


def request(method: str, ident: int = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode()


def test_the_sockets_are_private(serve: Serve) -> None:
    """Owner-only by mode, whatever the umask."""
    before = os.umask(0)
    try:
        server = serve()
    finally:
        os.umask(before)
    for url in server.endpoints:
        path = Path(url.partition("://")[2])
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_every_command_of_the_table_is_served(serve: Serve, connect: Connect) -> None:
    """`describe` lists what the table lists, with the same roles."""
    document = connect(serve()).ask("describe")["result"]
    assert {name: c.role.value for name, c in COMMANDS.items()} == {
        m["name"]: m["x-role"] for m in document["methods"]
    }


def test_status_tells_who_asked_for_the_state_and_when(app: App, serve: Serve, connect: Connect) -> None:
    """The identity is the kernel's: our own uid and pid."""
    server = serve()
    wire = connect(server)
    assert wire.ask("status")["result"]["requested_by"] is None
    drained = wire.ask("drain")["result"]
    status = wire.ask("status")["result"]
    assert (os.getuid(), os.getpid()) == (status["requested_by"]["uid"], status["requested_by"]["pid"])
    assert drained["since"] == status["requested_at"]
    assert (status["state"], status["ready"]) == ("draining", False)


def test_status_counts_by_class_and_keeps_the_last_error(app: App, serve: Serve, connect: Connect) -> None:
    """Also when Flask turned the exception into an answer."""
    server = serve()
    for path in ("/", "/", "/absent", "/bad"):
        Http.get(server.listeners[0], path).answer()
    wire = connect(server)
    status: dict[str, Any] = {}
    while sum(status.get("served", {}).values()) < 4:
        status = wire.ask("status")["result"]
    assert tuple(status["served"][kind] for kind in ("2xx", "4xx", "5xx")) == (2, 1, 1)
    assert (status["last_error"]["message"], status["last_error"]["request"]) == (
        "KeyError: 'missing'",
        "GET /bad",
    )


def test_requests_shows_what_is_in_flight(app: App, serve: Serve, connect: Connect) -> None:
    """With Flask's endpoint and rule, and without the query string."""
    server = serve()
    held = Http.get(server.listeners[0], "/held?token=secret")
    assert app.came.acquire(timeout=WAIT)
    [shown] = connect(server).ask("requests")["result"]["requests"]
    assert tuple(shown[key] for key in ("method", "path", "endpoint", "rule", "client")) == (
        "GET",
        "/held",
        "held",
        "/held",
        "127.0.0.1",
    )
    assert "secret" not in json.dumps(shown)
    app.let_go.set()
    held.answer()


def test_shutdown_replies_when_nothing_is_left_and_then_closes(
    app: App, serve: Serve, connect: Connect
) -> None:
    """Progress first and at once, the reply last, then the end of the stream."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    wire = connect(server)
    wire.send("shutdown", {"progress": True})
    first = wire.receive()
    assert (first["method"], first["params"]["id"], first["params"]["event"]["in_flight"]) == (
        "progress",
        1,
        1,
    )
    app.let_go.set()
    messages = []
    while (message := wire.receive()) is not None:
        messages.append(message)
    assert messages[-1]["result"]["clean"] is True
    assert all("method" in message for message in messages[:-1])
    assert held.answer().endswith(b"let go")


def test_a_long_command_keeps_no_other_waiting(app: App, serve: Serve, connect: Connect) -> None:
    """On the same connection, `status` is answered while `shutdown` goes on."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    wire = connect(server)
    wire.send("shutdown", ident=1)
    wire.send("status", ident=2)
    reply = wire.receive()
    assert reply["id"] == 2
    app.let_go.set()
    assert wire.receive()["id"] == 1
    held.answer()


def test_a_caller_that_leaves_takes_no_order_back(app: App, serve: Serve, connect: Connect) -> None:
    """The shutdown goes on."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    wire = connect(server)
    wire.send("shutdown", {"progress": True})
    wire.receive()
    wire.close()
    app.let_go.set()
    assert server.shutdown().result(WAIT).clean
    held.answer()


def test_events_stream_until_the_end(serve: Serve, connect: Connect) -> None:
    """State changes and progress, in order; `stopped` is the last, then the stream ends."""
    server = serve()
    wire = connect(server)
    assert wire.ask("events")["result"]["state"] == "running"
    server.drain().result(WAIT)
    server.shutdown().result(WAIT)
    events = []
    while (message := wire.receive()) is not None:
        events.append(message["params"]["event"])
    assert [event["state"] for event in events if event["event"] == "state"] == [
        "draining",
        "stopping",
        "stopped",
    ]
    assert events[-1]["state"] == "stopped"


def test_resume_while_stopping_is_the_wrong_state(app: App, serve: Serve, connect: Connect) -> None:
    """A stop is never undone; nothing changes."""
    server = serve()
    held = Http.get(server.listeners[0], "/held")
    assert app.came.acquire(timeout=WAIT)
    server.shutdown()
    reply = connect(server).ask("resume")
    assert reply["error"]["data"]["name"] == "wrong_state"
    assert "stopping" in reply["error"]["message"]
    app.let_go.set()
    held.answer()


@pytest.mark.parametrize(
    ("message", "name", "said"),
    [
        (b"nonsense", "parse_error", "not JSON"),
        (b"\xff\xfe", "parse_error", "not JSON"),
        (b"[]", "invalid_request", "not a JSON-RPC 2.0 request"),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', "invalid_request", "jsonrpc"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","x":1}', "invalid_request", "unknown field"),
        (b'{"jsonrpc":"2.0","id":1,"method":"launch"}', "unknown_method", "there is no command 'launch'"),
        (request("shutdown", grace="x"), "invalid_params", "params.grace"),
        (request("shutdown", grace=-1), "invalid_params", "params.grace"),
        (request("shutdown", grce=1), "invalid_params", "grce"),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', "invalid_params", "params"),
        (request("status", x=1), "invalid_params", "x"),
    ],
)
def test_a_bad_message_gets_a_sentence_and_changes_nothing(
    message: bytes, name: str, said: str, serve: Serve, connect: Connect, zmq_socket: Callable[..., Any]
) -> None:
    """The same error over both transports, and the connection goes on."""
    server = serve()
    wire = connect(server)
    wire.socket.sendall(message + b"\n")
    error = wire.receive()["error"]
    assert name == error["data"]["name"]
    assert said in error["message"]
    sock = zmq_socket(server)
    sock.send(message)
    assert error == json.loads(sock.recv())["error"]
    assert wire.ask("status")["result"]["state"] == "running"


def test_a_notification_is_carried_out_and_not_answered(serve: Serve, connect: Connect) -> None:
    """JSON-RPC 2.0, section 4.1."""
    wire = connect(serve())
    wire.socket.sendall(b'{"jsonrpc":"2.0","method":"drain"}\n')
    again = wire.ask("drain")["result"]
    assert (again["state"], again["changed"]) == ("draining", False)


def test_a_last_line_without_its_newline_is_answered(serve: Serve, connect: Connect) -> None:
    """`printf | socat` writes such; a half-closed stream still gets its reply."""
    wire = connect(serve())
    wire.socket.sendall(request("ping"))
    wire.socket.shutdown(socket.SHUT_WR)
    assert "result" in wire.receive()
    assert wire.receive() is None


def test_req_gets_one_reply_and_no_stream(serve: Serve, zmq_socket: Callable[..., Any]) -> None:
    """A REQ socket could not take notifications; asking it for them is said to be wrong."""
    server = serve()
    sock = zmq_socket(server, zmq.REQ)
    sock.send(request("ping"))
    assert json.loads(sock.recv())["result"]["name"] == server.name
    for message in (request("events"), request("shutdown", progress=True)):
        sock.send(message)
        assert json.loads(sock.recv())["error"]["data"]["name"] == "invalid_params"
    sock.send(request("drain"))
    assert json.loads(sock.recv())["result"]["changed"]


def test_a_dealer_may_stream(serve: Serve, zmq_socket: Callable[..., Any]) -> None:
    """With the reply first."""
    server = serve()
    sock = zmq_socket(server)
    sock.send(request("events", ident=7))
    assert json.loads(sock.recv())["id"] == 7
    server.drain().result(WAIT)
    note = json.loads(sock.recv())
    assert (note["method"], note["params"]["id"], note["params"]["event"]["state"]) == (
        "event",
        7,
        "draining",
    )


def test_a_request_of_many_frames_is_refused(serve: Serve, zmq_socket: Callable[..., Any]) -> None:
    """One frame a request."""
    sock = zmq_socket(serve())
    sock.send_multipart([b"a", b"b", b"c"])
    assert json.loads(sock.recv())["error"]["data"]["name"] == "invalid_request"


DROP_AND_ASK = f"""
import json, os, socket, sys, zmq  # before the drop: nobody may not be able to read the interpreter's files
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
kind, path = sys.argv[1:]
message = json.dumps({{"jsonrpc": "2.0", "id": 1, "method": "status"}}).encode()
if kind == "unix":
    sock = socket.socket(socket.AF_UNIX); sock.settimeout({WAIT}); sock.connect(path)
    sock.sendall(message + b"\\n"); print(sock.recv(65536).decode())
else:
    sock = zmq.Context().socket(zmq.DEALER); sock.setsockopt(zmq.RCVTIMEO, {int(WAIT * 1000)}); sock.connect("ipc://" + path)
    sock.send(message); print(sock.recv().decode())
"""


def as_nobody(kind: str, path: str) -> subprocess.CompletedProcess[str]:
    # Not from the checkout, which nobody may not be able to read.
    command = [sys.executable, "-c", DROP_AND_ASK, kind, path]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT, cwd="/", check=False)


@requires("root")
@pytest.mark.parametrize("kind", ["unix", "ipc"])
def test_another_uid_does_not_get_near_the_socket(kind: str, serve: Serve) -> None:
    """The directory is 0700: the kernel refuses before we have to."""
    path = next(url for url in serve().endpoints if url.startswith(kind)).partition("://")[2]
    if kind == "unix":
        assert "PermissionError" in as_nobody(kind, path).stderr


@requires("root")
@pytest.mark.parametrize("kind", ["unix", "ipc"])
def test_another_uid_that_gets_through_is_refused_by_the_kernels_word(
    kind: str, serve: Serve, runtime_dir: str
) -> None:
    """With every mode opened by mistake, SO_PEERCRED still tells who asks, and nothing is told to them."""
    server = serve()
    path = next(url for url in server.endpoints if url.startswith(kind)).partition("://")[2]
    opened = [os.path.dirname(runtime_dir), runtime_dir, os.path.dirname(path)]
    for directory in opened:
        os.chmod(directory, 0o711)
    os.chmod(path, 0o666)

    asked = as_nobody(kind, path)

    reply = json.loads(asked.stdout)
    assert reply["error"]["data"]["name"] == "not_permitted", asked
    assert str(NOBODY) in reply["error"]["message"]
    assert "result" not in reply


@requires("root")
@pytest.mark.parametrize("kind", ["unix", "ipc"])
def test_who_was_given_a_role_has_it_in_a_program_too(kind: str, serve: Serve, runtime_dir: str) -> None:
    """`Server` takes the settings that `flaskd run` takes."""
    server = serve(viewers=(f"user:{NOBODY}",))
    for directory in (os.path.dirname(runtime_dir), runtime_dir):
        os.chmod(directory, 0o711)
    path = next(url for url in server.endpoints if url.startswith(kind)).partition("://")[2]

    assert json.loads(as_nobody(kind, path).stdout)["result"]["state"] == "running"


def test_an_oversized_line_costs_its_connection_and_nothing_else(serve: Serve, connect: Connect) -> None:
    """It is told why, and the others go on."""
    server = serve()
    other, wire = connect(server), connect(server)
    with contextlib.suppress(ConnectionError):  # it may be closed while we send
        wire.socket.sendall(b"x" * (MAX_MESSAGE + 10))
        assert wire.receive()["error"]["data"]["name"] == "too_large"
    assert "result" in other.ask("ping")


def test_a_message_of_the_full_length_is_answered(serve: Serve, connect: Connect) -> None:
    """The limit is the protocol's, not asyncio's 64 KiB."""
    wire = connect(serve())
    message = request("ping").ljust(MAX_MESSAGE)
    wire.socket.sendall(message + b"\n")
    assert "result" in wire.receive()


def test_a_line_that_is_never_ended_is_given_up(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open peer holds a connection for MESSAGE_TIME at most."""
    monkeypatch.setattr(connection, "MESSAGE_TIME", 0.1)
    wire = connect(serve())
    wire.socket.sendall(b'{"jsonrpc"')
    assert wire.receive()["error"]["data"]["name"] == "timeout"


@pytest.mark.parametrize("reads_late", [True, False])
def test_a_peer_that_reads_nothing_is_closed(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, *, reads_late: bool
) -> None:
    """It would hold its place and its replies for ever; one that reads at last keeps its connection."""
    monkeypatch.setattr(connection, "UNREAD_TIME", WAIT if reads_late else 0.2)
    server = serve()
    wire = connect(server)
    wire.socket.settimeout(0.1)
    question = b'{"jsonrpc":"2.0","id":1,"method":"describe"}\n'

    def ask_on() -> None:
        while True:
            wire.socket.sendall(question)

    with contextlib.suppress(TimeoutError):  # what fits into the kernel: then the server reads no more
        ask_on()
    wire.socket.settimeout(WAIT)

    if reads_late:
        assert wire.receive()["result"]
        assert wire.receive()["result"]
    else:
        with pytest.raises(ConnectionError):
            ask_on()
    assert "result" in connect(server).ask("ping")


def test_a_flood_of_connections_does_not_keep_the_owner_out(
    app: App, serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the one that has been idle longest goes; HTTP and `status` go on."""
    monkeypatch.setattr(local, "PLACES", Places(total=20, share=5, kept=5))
    server = serve()
    path = server.endpoints[1].removeprefix("unix://")
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            flooding = stack.enter_context(socket.socket(socket.AF_UNIX))
            flooding.settimeout(WAIT)
            flooding.connect(path)
        assert "result" in connect(server).ask("status")
        assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")


def test_floods_of_rubbish_do_not_disturb_status_or_http(
    app: App, serve: Serve, connect: Connect, zmq_socket: Callable[..., Any]
) -> None:
    """On both transports at once, from several peers that do not even read their replies."""
    server = serve()
    path = server.endpoints[1].removeprefix("unix://")
    enough = threading.Event()

    def flood_plain() -> None:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.2)
            sock.connect(path)
            while not enough.is_set():
                sock.sendall(b"rubbish\n" * 100)

    def flood_zmq() -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
            sock.setsockopt(zmq.LINGER, 0)
            sock.setsockopt(zmq.SNDTIMEO, 200)
            sock.connect(server.endpoints[0])
            while not enough.is_set():
                with contextlib.suppress(zmq.Again):
                    sock.send(b"rubbish" * 100)

    def flood_bytes() -> None:
        """Not even ZMTP."""
        while not enough.is_set():
            with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
                sock.settimeout(0.2)
                sock.connect(server.endpoints[0].removeprefix("ipc://"))
                sock.sendall(os.urandom(1000))
                sock.recv(100)

    threads = [threading.Thread(target=flood) for flood in (flood_plain, flood_zmq, flood_bytes)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert "result" in connect(server).ask("status")
            assert Http.get(server.listeners[0], "/").answer().endswith(b"hello")
    finally:
        enough.set()
        for thread in threads:
            thread.join(WAIT)
    assert "result" in json.loads(_asked(zmq_socket(server)))


def _asked(sock: Any) -> bytes:
    sock.send(request("status"))
    return bytes(sock.recv())


def test_a_slow_reader_of_events_loses_some_and_is_told(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is bounded; where events are missing, `lost` counts them."""
    from flaskd.control.transports import subscription

    monkeypatch.setattr(subscription, "QUEUE", 10)
    server = serve()
    wire = connect(server)
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wire.ask("events")
    for _ in range(3000):
        server.drain().result(WAIT)
        server.resume().result(WAIT)
    lost, seen = 0, 0
    while lost + seen < 6000:
        event = wire.receive()["params"]["event"]
        lost += event["count"] if event["event"] == "lost" else 0
        seen += event["event"] == "state"
    assert lost > 0
    assert lost + seen == 6000
    server.shutdown()
    while (message := wire.receive()) is not None:
        event = message["params"]["event"]
    assert event["state"] == "stopped"


@pytest.fixture(scope="module")
def long_lived() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="fd-", dir="/tmp") as base,
        Server(App(), bind="127.0.0.1:0", runtime_dir=f"{base}/r", linger=0.1) as server,
    ):
        yield server


@example(b"\x0b")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
            ),
        ).map(lambda value: json.dumps(value).encode()),
    ).filter(lambda message: b'"method"' not in message)  # it knows words of the code: the rest is no call
)
def test_whatever_is_sent_each_line_gets_an_error_and_status_goes_on(
    long_lived: Server, message: bytes
) -> None:
    """Property: rubbish costs a reply, never the daemon."""
    wire = Wire(long_lived.endpoints[1].removeprefix("unix://"))
    try:
        lines = [line for line in message.split(b"\n") if line.strip()]
        wire.socket.sendall(message + b"\n")
        for _ in lines:
            assert wire.receive()["error"]["data"]["name"] in {"parse_error", "invalid_request"}
        assert "result" in wire.ask("ping")
    finally:
        wire.close()
