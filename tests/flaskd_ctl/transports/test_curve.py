"""Before a word is said over TCP: addresses, keys, and what connecting can come to."""

import errno
import socket
import time
from pathlib import Path

import pytest

from flaskd_ctl.cli.exits import Exit, code_of
from flaskd_ctl.contract.endpoint import Endpoint, Target, host_and_port, parse_endpoint
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.errors import BadPlace, ControlError, NotRunning, TimedOut, Unreachable
from flaskd_ctl.transports.curve import HandshakeEnded, explain, probe

REMOTE = Target("shop", Endpoint("tcp", "192.0.2.1:7400"), key="own", server_key="theirs")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:7400", "127.0.0.1", 7400),
        ("web1.example.org:1", "web1.example.org", 1),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:7400", "fe80::1%eth0", 7400),
    ],
)
def test_address_has_a_host_and_a_port(address: str, host: str, port: int) -> None:
    assert host_and_port(address) == (host, port)
    assert parse_endpoint(f"tcp://{address}") == Endpoint("tcp", address)


@pytest.mark.parametrize(
    "address",
    ["", "host", ":7400", "host:", "host:http", "host:65536", "::1:7400", "[]:1", "host:-1", "host:٣"],
)
def test_what_is_none_is_refused_with_the_form(address: str) -> None:
    with pytest.raises(BadPlace) as refused:
        parse_endpoint(f"tcp://{address}")

    assert "HOST:PORT" in refused.value.hint


@pytest.mark.parametrize(
    ("key", "server_key", "asked_for"),
    [
        (None, None, "give --key FILE and --server-key FILE"),
        ("own", None, "give --server-key FILE"),
        (None, "theirs", "give --key FILE"),
    ],
)
def test_keys_that_are_missing_are_named(
    runtime_dir: str, key: str | None, server_key: str | None, asked_for: str
) -> None:
    with pytest.raises(BadPlace, match="needs keys") as refused:
        Instances().target(endpoint="tcp://192.0.2.1:7400", key=key, server_key=server_key)

    assert refused.value.hint.startswith(asked_for)


def test_a_handshake_that_ends_is_a_lack_of_permission() -> None:
    """Whatever the command was: its class is one of NotPermitted's."""
    assert code_of(HandshakeEnded("the instance ended the handshake"), method="reload") is Exit.NOT_PERMITTED


@pytest.mark.parametrize(
    ("seen", "kind", "code"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), NotRunning, Exit.NOT_RUNNING),
        (ConnectionResetError(errno.ECONNRESET, "reset"), NotRunning, Exit.NOT_RUNNING),
        (TimeoutError("timed out"), TimedOut, Exit.TIMED_OUT),
        (OSError(errno.EHOSTUNREACH, "no route"), Unreachable, Exit.NOT_PERMITTED),
        (OSError(errno.ENETUNREACH, "no network"), Unreachable, Exit.NOT_PERMITTED),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), Unreachable, Exit.NOT_PERMITTED),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), BadPlace, Exit.USAGE),
        (OSError(errno.EINVAL, "invalid"), BadPlace, Exit.USAGE),
    ],
)
def test_what_connecting_comes_to_has_a_kind_and_a_code(
    seen: OSError, kind: type[ControlError], code: Exit
) -> None:
    """ "Not running" is said only where somebody has said so: a host that cannot be reached may well run it."""
    error = explain(seen, REMOTE)

    assert type(error) is kind
    assert code_of(error, method="status") == code
    assert "tcp://192.0.2.1:7400" in str(error)
    assert error.hint


def test_the_probe_tells_which_of_the_addresses_answered(tmp_path: Path) -> None:
    """libzmq goes to that one: a name may have several, of which not all are listened at."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
        target = REMOTE._replace(endpoint=Endpoint("tcp", f"localhost:{port}"))

        assert probe(target, deadline=time.monotonic() + 10) == f"tcp://127.0.0.1:{port}"
