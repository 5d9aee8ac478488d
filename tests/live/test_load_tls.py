"""The load client is as exact over TLS, where a connection has ends of its own."""

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.live.test_load import (
    CHUNKED,
    COUNTED,
    PLAN,
    UNTIL_EOF,
    WANTED,
    Act,
    ask,
    reply,
    reset,
    scripted,
    silence,
)
from tests.support.certified import certified
from tests.support.exchange import Connection, Plan
from tests.support.outcome import Outcome

Secured = Callable[..., contextlib.AbstractContextManager[tuple[str, Plan]]]


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    """Serve one connection over TLS: the handshake comes before the acts."""
    files = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.args[1], files.args[3])

    @contextlib.contextmanager
    def serve(*acts: Act) -> Iterator[tuple[str, Plan]]:
        def secure(peer: socket.socket) -> None:
            with context.wrap_socket(peer.dup(), server_side=True) as wrapped:
                for act in acts:
                    act(wrapped)

        with scripted(secure) as target:
            yield target.replace("http:", "https:"), dataclasses.replace(PLAN, authority=files.authority)

    return serve


def goodbye(peer: socket.socket) -> None:
    """Send close_notify."""
    assert isinstance(peer, ssl.SSLSocket)
    peer.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        peer.unwrap()


def listen(peer: socket.socket) -> None:
    """Read what the client says first."""
    peer.recv(4096)


@pytest.mark.parametrize(
    ("acts", "outcome"),
    [
        ([reply(COUNTED)], Outcome.OK),
        ([reply(CHUNKED), goodbye], Outcome.OK),
        ([reply(UNTIL_EOF), goodbye], Outcome.OK),
        ([reply(UNTIL_EOF)], Outcome.TRUNCATED),
        ([reply(b"")], Outcome.TRUNCATED),
        ([reply(b""), goodbye], Outcome.TRUNCATED),
        ([reply(COUNTED[:-1]), goodbye], Outcome.TRUNCATED),
        ([silence], Outcome.TIMED_OUT),
    ],
)
def test_over_tls_a_connection_that_is_cut_is_no_end_of_a_body(
    secured: Secured, acts: list[Act], outcome: Outcome
) -> None:
    """Only close_notify is one (RFC 8446, section 6.1)."""
    with secured(*acts) as (target, plan):
        (record,) = ask(target, plan=plan)
    assert (record.outcome, record.lost, record.established) == (outcome, outcome is not Outcome.OK, True)


@pytest.mark.parametrize("acts", [[], [listen, reset], [silence]])
def test_a_handshake_that_does_not_come_to_its_end_is_a_lost_request(acts: list[Act], tmp_path: Path) -> None:
    """Its connection was established, so somebody owed it an answer."""
    plan = dataclasses.replace(PLAN, authority=certified(tmp_path).authority)
    with scripted(*acts) as target:
        (record,) = ask(target.replace("http:", "https:"), plan=plan)
    assert (record.established, record.lost, record.received) == (True, True, 0)


def test_a_server_that_is_not_the_one_we_trust_is_not_spoken_to(secured: Secured, tmp_path: Path) -> None:
    """The client is a real one."""
    (tmp_path / "other").mkdir()
    other = certified(tmp_path / "other").authority
    with secured() as (target, plan):
        (record,) = ask(target, plan=dataclasses.replace(plan, authority=other))
    assert (record.outcome, record.received) == (Outcome.WRONG, 0)


def test_a_kept_connection_over_tls_is_used_again_and_its_end_is_seen(secured: Secured) -> None:
    """Session tickets that come meanwhile are no end; close_notify is."""

    async def run(target: str, plan: Plan) -> tuple[bool, bool]:
        with contextlib.closing(Connection(target, plan)) as connection:
            await connection.exchange(WANTED)
            before = await connection.idle(0.05)
            record, _ = await connection.exchange(WANTED)
            assert (record.outcome, record.reused) == (Outcome.OK, True)
            return before, await connection.idle(10)

    with secured(reply(COUNTED), reply(COUNTED), goodbye) as (target, plan):
        assert asyncio.run(run(target, plan)) == (True, False)
