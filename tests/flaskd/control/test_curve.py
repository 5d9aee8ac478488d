"""tcp:// endpoints: who is let in, what they may do, and what those who are not can cost."""

import asyncio
import contextlib
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from flaskd import Server
from flaskd.control.tcp import gateway
from flaskd.control.tcp.endpoints import TcpEndpoints, TcpSettings
from flaskd.control.transports import router
from flaskd.errors import BindError, ConfigError
from flaskd_ctl import AsyncClient, Client
from flaskd_ctl.client.session import ask
from flaskd_ctl.contract.endpoint import Place, Target, parse_endpoint
from flaskd_ctl.errors import BadKey, BadPlace, ConnectionLost, NotPermitted, NotRunning, TimedOut
from flaskd_ctl.protocol import StateEvent
from flaskd_ctl.transports.backend import BLOCKING, run
from flaskd_ctl.transports.remote_exit import RemoteExit
from tests.flaskd.conftest import WAIT, App
from tests.support.eavesdropper import Eavesdropper
from tests.support.keyed import Keyring, address_in, url_among

Serve = Callable[..., Server]


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path)


@pytest.fixture
def server(serve: Serve, keys: Keyring) -> Server:
    """An instance that is reached over TCP, of which alice is an operator and carol nothing."""
    keys.let_in("alice")
    keys.let_in("carol")
    return serve(name="shop", operators=("key:alice",), **keys.settings)


def url_of(server: Server) -> str:
    return url_among(server.endpoints)


def address_of(server: Server) -> tuple[str, int]:
    return address_in(url_of(server))


def target_of(server: Server, keys: Keyring, name: str = "alice") -> Target:
    return Target(
        "shop",
        parse_endpoint(url_of(server)),
        key=str(keys.home / "callers" / f"{name}.key_secret"),
        server_key=keys.server.public,
    )


@pytest.fixture
def client(server: Server, keys: Keyring) -> Iterator[Callable[..., Client]]:
    """Clients with a key of their own, by its name."""
    made: list[Client] = []

    def make(name: str = "alice", **others: Any) -> Client:
        given = {
            "endpoint": url_of(server),
            "key": str(keys.home / "callers" / f"{name}.key_secret"),
            "server_key": keys.server.public,
            "timeout": WAIT,
        }
        made.append(Client(**{**given, **others}))
        return made[-1]

    yield make
    for each in made:
        each.close()


# Who is let in


def test_authorized_key_is_who_asked(server: Server, client: Callable[..., Client]) -> None:
    """What a caller may do is told by its key's name; nothing else of it is known."""
    alice = client()

    alice.drain()

    by = alice.status().requested_by
    assert by is not None
    assert (by.via, by.key, by.uid, by.gid, by.pid) == ("control", "alice", None, None, None)


def test_client_for_asyncio_goes_the_same_way(server: Server, keys: Keyring) -> None:
    target = target_of(server, keys)

    async def ask() -> str:
        async with AsyncClient(
            endpoint=target.endpoint.url, key=target.key, server_key=target.server_key, timeout=WAIT
        ) as alice:
            await alice.ping()
            return (await alice.drain()).state

    assert asyncio.run(ask()) == "draining"


def test_several_endpoints_are_one_instance(serve: Serve, keys: Keyring) -> None:
    """IPv4 and IPv6 side by side, and the client goes to either."""
    key = keys.let_in("alice")
    endpoints = ("tcp://127.0.0.1:0", "tcp://[::1]:0")
    server = serve(name="shop", operators=("key:alice",), **{**keys.settings, "control_endpoints": endpoints})

    urls = [url for url in server.endpoints if url.startswith("tcp://")]

    assert [url.rpartition(":")[0] for url in urls] == ["tcp://127.0.0.1", "tcp://[::1]"]
    for url in urls:
        with Client(endpoint=url, key=key, server_key=keys.server.public, timeout=WAIT) as client:
            assert client.status().endpoints == server.endpoints


def test_key_without_a_grant_may_nothing(client: Callable[..., Client]) -> None:
    """To be let in is no role; the refusal says which one is missing."""
    with pytest.raises(NotPermitted, match="key carol has no role here; ping needs viewer"):
        client("carol").ping()


def test_role_of_a_key_ends_where_another_begins(server: Server, client: Callable[..., Client]) -> None:
    with pytest.raises(NotPermitted, match="key alice has the role operator here; kill needs admin"):
        client().kill()

    assert server.status().state == "running"


def test_key_that_is_not_authorized_is_told_so(keys: Keyring, client: Callable[..., Client]) -> None:
    """It learns nothing else: not even its commands are read."""
    keys.make("mallory")

    with pytest.raises(NotPermitted, match=r"does not let the key in .*mallory.key_secret in"):
        client("mallory").ping()


def test_key_of_another_server_is_told_by_the_client(keys: Keyring, client: Callable[..., Client]) -> None:
    """Nothing is sent to an impostor: the client asks for the handshake that only the right server can finish."""
    with pytest.raises(NotPermitted, match=r"the key in .*/other.key does not fit tcp://"):
        client(server_key=keys.make("other").public).ping()


def test_a_handshake_that_was_ended_for_another_reason_is_begun_again(
    server: Server, client: Callable[..., Client]
) -> None:
    """A gateway that has too many connections ends some of them, and can say nothing to them."""
    with Eavesdropper(address_in(url_of(server)), ended=2) as busy:
        assert client(endpoint=busy.url).ping().name == server.status().name
    with (
        Eavesdropper(address_in(url_of(server)), ended=9) as busy,
        pytest.raises(NotPermitted, match=r"does not fit .*: it ended the handshake") as told,
    ):
        client(endpoint=busy.url).ping()
    assert "too many connections" in told.value.hint


def test_client_for_asyncio_is_refused_the_same_way(server: Server, keys: Keyring) -> None:
    target = target_of(server, keys)
    mallory, other = keys.make("mallory"), keys.make("other")

    async def ask(key: str, server_key: str) -> None:
        async with AsyncClient(
            endpoint=target.endpoint.url, key=key, server_key=server_key, timeout=WAIT
        ) as asking:
            await asking.ping()

    with pytest.raises(NotPermitted, match="does not let the key"):
        asyncio.run(ask(mallory.secret, target.server_key))
    with pytest.raises(NotPermitted, match="does not fit"):
        asyncio.run(ask(target.key, other.public))


@pytest.mark.parametrize("mechanism", ["null", "plain"])
def test_peer_without_curve_is_not_heard(server: Server, mechanism: str) -> None:
    """Encryption is not negotiable: the connection ends, and no command of it is carried out."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, -1)
        if mechanism == "plain":
            dealer.setsockopt(zmq.PLAIN_USERNAME, b"alice")
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        dealer.connect(url_of(server))
        dealer.send(b'{"jsonrpc":"2.0","id":1,"method":"drain"}')

        assert monitor.poll(int(WAIT) * 1000)

        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        dealer.disable_monitor()
        monitor.close()
    assert event == zmq.EVENT_DISCONNECTED
    assert server.status().state == "running"


# Keys that come and go while the instance runs


def test_removed_key_is_refused_with_its_next_message(keys: Keyring, client: Callable[..., Client]) -> None:
    """The connection may stay; put back, the key counts again."""
    alice = client()
    alice.ping()

    os.rename(keys.authorized / "alice.key", keys.home / "alice.key")
    with pytest.raises(NotPermitted, match="no longer authorized"):
        alice.drain()

    os.rename(keys.home / "alice.key", keys.authorized / "alice.key")
    assert alice.status().state == "running"


def test_another_key_of_the_same_name_is_another_caller(keys: Keyring, client: Callable[..., Client]) -> None:
    """A name that was given to another key lets the first one in no more."""
    alice = client()
    alice.ping()

    os.replace(keys.make("alicia").public, keys.authorized / "alice.key")

    with pytest.raises(NotPermitted, match="no longer authorized"):
        alice.drain()
    assert client("alicia").ping().name == "shop"


def test_key_that_is_let_in_later_needs_no_restart(keys: Keyring, client: Callable[..., Client]) -> None:
    keys.let_in("dave")

    with pytest.raises(NotPermitted, match="key dave has no role"):
        client("dave").ping()


def test_stream_of_a_removed_key_ends_with_the_next_event(
    server: Server, keys: Keyring, client: Callable[..., Client]
) -> None:
    """It is told why, and not what has happened."""
    events = client().events()
    with restless(server):  # the subscription begins with the first event
        assert isinstance(next(events), StateEvent)

    os.unlink(keys.authorized / "alice.key")
    server.drain().result(WAIT)
    server.resume().result(WAIT)

    with pytest.raises(NotPermitted, match="no longer authorized"):
        for _ in events:
            pass


@contextlib.contextmanager
def restless(server: Server) -> Iterator[None]:
    """Let something happen again and again."""
    enough = threading.Event()

    def be_restless() -> None:
        while not enough.wait(0.02):
            server.drain().result(WAIT)
            server.resume().result(WAIT)

    thread = threading.Thread(target=be_restless)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(WAIT)


def test_directory_that_others_may_write_to_lets_nobody_in(
    keys: Keyring, client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """Who can put a file there could let himself in; it is said in the log, once, and holds until it is mended."""
    alice = client()
    alice.ping()

    keys.authorized.chmod(0o777)
    for _ in range(3):
        with pytest.raises(NotPermitted):
            alice.ping()
    with pytest.raises(NotPermitted):
        client().ping()
    keys.authorized.chmod(0o755)

    assert alice.ping().name == "shop"
    said = [record.message for record in caplog.records if "no key is authorized" in record.message]
    assert len(said) == 1
    assert "others can write to" in said[0]


def test_file_that_others_may_write_to_lets_nobody_in(
    keys: Keyring, client: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    """It is said in the log, once."""
    (keys.authorized / "alice.key").chmod(0o646)

    for _ in range(2):
        with pytest.raises(NotPermitted):
            client().ping()

    (said,) = (record.message for record in caplog.records if "others can change its file" in record.message)
    assert "the key alice is not authorized" in said


def test_look_at_the_keys_that_fails_is_no_way_in_and_not_the_last_one(
    client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """libzmq asks one question at a time: one without an answer would keep everybody out from then on."""
    with monkeypatch.context() as broken:
        broken.setattr("flaskd.control.tcp.authorized.AuthorizedKeys.name_of", lambda *_: 1 / 0)
        with pytest.raises(NotPermitted):
            client().ping()

    assert client().ping().name == "shop"
    assert "checking a key failed" in caplog.text


# What is refused at the start


def refused(serve: Serve, keys: Keyring, **others: Any) -> str:
    with pytest.raises((ConfigError, BadKey)) as error:
        serve(name="shop", **{**keys.settings, **others})
    return str(error.value)


def test_endpoint_without_keys_is_refused(serve: Serve, keys: Keyring) -> None:
    """Also on loopback, where anybody on the machine may connect."""
    assert "needs --curve-key and --authorized-keys" in refused(serve, keys, curve_key="", authorized_keys="")
    assert "needs --authorized-keys" in refused(serve, keys, authorized_keys="")
    assert "needs --control" in refused(serve, keys, control=False)


@pytest.mark.parametrize(
    "url",
    [
        "ipc:///tmp/x",
        "tcp://",
        "tcp://host",
        "tcp://host:http",
        "http://a:1",
        "tcp://a/b:1",
        "tcp://::1:1",
        "tcp://127.0.0.1:99999",
    ],
)
def test_what_is_no_endpoint_is_refused(serve: Serve, keys: Keyring, url: str) -> None:
    with pytest.raises((ConfigError, BindError)):
        serve(name="shop", **{**keys.settings, "control_endpoints": (url,)})


def test_port_in_use_is_said(serve: Serve, keys: Keyring) -> None:
    """With the setting that is to be changed."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = f"tcp://127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(BindError, match="address is in use") as refused:
            serve(name="shop", **{**keys.settings, "control_endpoints": (url,)})

    assert "--control-endpoints" in refused.value.hint


def test_public_key_is_no_key_of_an_instance(serve: Serve, keys: Keyring) -> None:
    assert "no secret one" in refused(serve, keys, curve_key=keys.server.public)


def test_directory_of_authorized_keys_has_to_be_ours(serve: Serve, keys: Keyring, runtime_dir: str) -> None:
    """One that is not there, that others can write to, or that holds a secret: refused, and nothing is left of the start."""
    assert "cannot open" in refused(serve, keys, authorized_keys=str(keys.home / "nowhere"))

    keys.authorized.chmod(0o775)
    assert "others can write to" in refused(serve, keys)
    keys.authorized.chmod(0o755)

    secret = keys.authorized / "alice.key"
    os.rename(keys.make("alice").secret, secret)
    assert "for its owner alone" in refused(serve, keys)
    secret.unlink()

    keys.let_in("bob")
    (keys.authorized / "bobby.key").write_bytes((keys.authorized / "bob.key").read_bytes())
    assert "holds the same key as" in refused(serve, keys)

    assert os.listdir(runtime_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_directory_of_somebody_else_lets_nobody_in(serve: Serve, keys: Keyring) -> None:
    os.chown(keys.authorized, 12_345, 12_345)

    assert "uid 12345" in refused(serve, keys)


def test_too_few_descriptors_are_said(serve: Serve, keys: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers must not be able to use up what the process needs."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (256, 256))

    assert "need" in refused(serve, keys)


def test_forked_child_keeps_no_endpoint_but_what_is_others_later(keys: Keyring, runtime_dir: str) -> None:
    """A port that was given back is anybody's, in the same program too: no child loses a socket for having it."""
    at_home = {"key": keys.server.secret, "authorized": str(keys.authorized)}
    checked = TcpSettings.check(["tcp://127.0.0.9:0"], place=Place(runtime_dir), **at_home)
    with TcpEndpoints.bind(checked) as remote:
        port = int(remote.urls[0].rpartition(":")[2])
        assert len(list(remote.descriptors())) == 2
    with socket.create_server(("127.0.0.9", port)):
        assert list(remote.descriptors()) == []


# What the client says before it asks


def test_client_without_keys_is_told_which(client: Callable[..., Client]) -> None:
    with pytest.raises(BadPlace, match="needs keys") as refused:
        client(key=None, server_key=None).ping()

    assert "--key FILE and --server-key FILE" in refused.value.hint


def test_nothing_there_takes_no_timeout(client: Callable[..., Client]) -> None:
    """A plain connect tells it, on the same host at once."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"

        with pytest.raises(NotRunning, match=f"nothing listens at {url}"):
            client(endpoint=url, timeout=10_000).ping()


def test_silent_listener_is_timed_out(client: Callable[..., Client]) -> None:
    """Whatever it is, it is not taken for an instance that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"

        with pytest.raises(TimedOut, match="did not finish the handshake"):
            client(endpoint=url, timeout=1.0).ping()


@pytest.mark.parametrize("way", ["blocking", "asyncio"])
def test_instance_that_ends_in_the_handshake_is_not_running(keys: Keyring, way: str) -> None:
    """It is no key that did not fit: nothing listens any more."""
    options: dict[str, Any] = {"key": keys.let_in("alice"), "server_key": keys.server.public, "timeout": WAIT}

    def end(ending: socket.socket) -> None:
        with ending:
            ending.accept()[0].close()  # the look whether somebody listens
            handshake, _ = ending.accept()
        handshake.close()

    async def ask(url: str) -> None:
        await AsyncClient(endpoint=url, **options).ping()

    listener = socket.create_server(("127.0.0.1", 0))
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=end, args=(listener,))
    thread.start()
    try:
        with pytest.raises(NotRunning, match="nothing listens at"):
            Client(endpoint=url, **options).ping() if way == "blocking" else asyncio.run(ask(url))
    finally:
        thread.join(WAIT)


# The end


def test_shutdown_returns_when_nothing_listens_any_more(
    server: Server, app: App, client: Callable[..., Client], runtime_dir: str
) -> None:
    """The reply comes over the connection that ends with it."""
    result = client().shutdown(timeout=WAIT)

    assert result.clean
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address_of(server), timeout=WAIT).close()


def test_shutdown_for_asyncio_returns_then_too(server: Server, keys: Keyring) -> None:
    """With each event told to another connection before, to the last one."""
    target = target_of(server, keys)

    def connect() -> AsyncClient:
        return AsyncClient(
            endpoint=target.endpoint.url, key=target.key, server_key=target.server_key, timeout=WAIT
        )

    async def stop() -> tuple[bool, list[str]]:
        subscribed = asyncio.Event()

        async def listen() -> list[str]:
            states = []
            async with connect() as listening:
                async for event in listening.events():
                    subscribed.set()
                    if isinstance(event, StateEvent):
                        states.append(event.state)
            return states

        with restless(server):
            listening = asyncio.create_task(listen())
            await subscribed.wait()
        async with connect() as alice:
            result = await alice.shutdown(timeout=WAIT)
        return result.clean, await listening

    clean, states = asyncio.run(asyncio.wait_for(stop(), WAIT))

    assert clean
    assert states[-2:] == ["stopping", "stopped"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address_of(server), timeout=WAIT).close()


def test_successor_at_the_same_address_is_not_taken_for_the_one_that_went(
    serve: Serve, server: Server, keys: Keyring
) -> None:
    """A service manager may be quicker than who waits for the end."""
    target = target_of(server, keys)
    watcher = RemoteExit(BLOCKING, target, lambda seconds: ask(BLOCKING, target, "status", whole=seconds))
    assert not run(watcher.wait(process_exits=True, deadline=0.0))
    server.shutdown(grace=0).result(WAIT)

    serve(name="shop", operators=("key:alice",), **{**keys.settings, "control_endpoints": (url_of(server),)})

    assert run(watcher.wait(process_exits=True, deadline=float("inf")))


def test_child_that_the_application_forks_keeps_no_connection(
    server: Server, client: Callable[..., Client]
) -> None:
    """A caller sees the end, although a child lives on."""
    alice = client()
    alice.ping()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        assert alice.shutdown(timeout=WAIT).clean
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address_of(server), timeout=WAIT).close()
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def test_socket_behind_the_door_is_the_owners_alone(server: Server, runtime_dir: str) -> None:
    """Who could connect there would not be counted; it goes with the instance."""
    inner = os.path.join(runtime_dir, "shop", "tcp")

    assert stat.S_IMODE(os.stat(inner).st_mode) == 0o600
    server.shutdown(grace=0).result(WAIT)
    assert not os.path.exists(inner)


def test_dead_socket_behind_the_door_is_cleared_away(serve: Serve, runtime_dir: str) -> None:
    """Also where the next instance has no tcp:// endpoints: nothing of it is left at the end."""
    os.mkdir(os.path.join(runtime_dir, "shop"), mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.path.join(runtime_dir, "shop", "tcp"))

    serve(name="shop").shutdown(grace=0).result(WAIT)

    assert os.listdir(runtime_dir) == []


# What strangers can cost


def test_stranger_who_proves_no_key_is_sent_away(
    serve: Serve, keys: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent, or talking without end: there is one time for the proof."""
    monkeypatch.setattr(gateway, "HANDSHAKE_TIME", 1.0)
    server = serve(name="shop", **keys.settings)

    with (
        socket.create_connection(address_of(server), timeout=WAIT) as silent,
        socket.create_connection(address_of(server), timeout=WAIT) as slow,
    ):
        slow.sendall(b"\xff" + bytes(8) + b"\x7f\x03")  # a greeting's beginning
        assert _ends(silent)
        assert _ends(slow)


def test_strangers_beyond_the_limit_cost_the_host_that_has_the_most(
    serve: Serve, keys: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest of them goes; whoever comes from elsewhere, or has proved a key, stays."""
    monkeypatch.setattr(gateway, "HANDSHAKE_TIME", 10 * WAIT)  # so that nobody goes for another reason
    monkeypatch.setattr(router, "HANDSHAKE_MS", int(10_000 * WAIT))
    key = keys.let_in("alice")
    server = serve(name="shop", operators=("key:alice",), **keys.settings)
    alice = Client(endpoint=url_of(server), key=key, server_key=keys.server.public, timeout=WAIT)
    alice.ping()
    elsewhere = socket.create_connection(address_of(server), timeout=WAIT, source_address=("127.0.0.2", 0))
    crowd = [
        socket.create_connection(address_of(server), timeout=WAIT)
        for _ in range(gateway.MAX_UNAUTHENTICATED + 5)
    ]
    try:
        assert all(_ends(each) for each in crowd[:6])
        alice.ping()
        for stays in (elsewhere, crowd[-1]):
            greeting = stays.recv(64)  # libzmq's, which comes with the connection
            assert greeting[:1] == b"\xff"
            stays.setblocking(False)
            with pytest.raises(BlockingIOError):
                stays.recv(64)
    finally:
        for each in (elsewhere, *crowd):
            each.close()
        alice.close()


def test_callers_beyond_the_limit_cost_who_was_silent_longest(
    serve: Serve, keys: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new one always gets in; who has to go connects again with its next call."""
    monkeypatch.setattr(gateway, "MAX_AUTHENTICATED", 2)
    keys.let_in("alice")
    server = serve(name="shop", operators=("key:alice",), **keys.settings)
    target = target_of(server, keys)
    options = {"endpoint": target.endpoint.url, "key": target.key, "server_key": target.server_key}
    clients = [Client(timeout=WAIT, **options) for _ in range(3)]
    try:
        for each in clients:
            each.ping()
        for each in reversed(clients):
            with contextlib.suppress(ConnectionLost):  # it may be told only now
                each.ping()
            assert each.ping().name == "shop"
    finally:
        for each in clients:
            each.close()


def _ends(connection: socket.socket) -> bool:
    """Read to the end, which has to come."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True
