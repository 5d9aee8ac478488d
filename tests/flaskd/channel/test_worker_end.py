"""What a worker tells its supervisor: it arrives, whatever the application has put into it."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from flaskd.channel.messages import LONGEST_MESSAGE, LONGEST_TRACE, FromWorker, Ping, Refused, Serve
from flaskd.channel.worker_end import WorkerChannel
from flaskd_ctl.contract.conversation import MAX_MESSAGE, Lines

WAIT = 10.0
"""Seconds after which a wait fails."""


@contextmanager
def channel() -> Iterator[tuple[WorkerChannel, socket.socket]]:
    worker, supervisor = socket.socketpair()
    with worker, supervisor:
        supervisor.settimeout(WAIT)
        yield WorkerChannel(worker), supervisor


def received(supervisor: socket.socket) -> FromWorker:
    (message,) = Lines().feed(supervisor.recv(MAX_MESSAGE))
    found: FromWorker = msgspec.json.decode(message, type=FromWorker)
    return found


def refusal(error: BaseException, trace: str) -> Refused:
    with channel() as (worker, supervisor):
        worker.refuse(Ping(number=7), error, trace=trace)
        refused = received(supervisor)
    assert isinstance(refused, Refused)
    assert refused.number == 7
    return refused


def test_a_failure_that_quotes_megabytes_is_told_by_its_beginning_and_its_end() -> None:
    """A message of the protocol has an end, and so has the `status` that shows the last failure."""
    refused = refusal(
        RuntimeError("begins" + "x" * 2 * MAX_MESSAGE + "ends"), "first" + "x" * 2 * MAX_MESSAGE + "last"
    )

    said, trace = refused.message, refused.traceback
    assert (said[:6], said[-4:]) == ("begins", "ends")
    assert (trace[:5], trace[-4:]) == ("first", "last")
    assert (len(said), len(trace)) == (LONGEST_MESSAGE + 3, LONGEST_TRACE + 3)


def test_the_name_of_a_file_that_is_no_utf_8_is_told() -> None:
    """Python has half a surrogate in place of such a byte (PEP 383), which JSON cannot have."""
    refused = refusal(FileNotFoundError("no file caf\udce9"), "Traceback: caf\udce9")

    assert "no file caf" in refused.message
    assert json.dumps(refused.traceback, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "unknown",
    [
        b'{"call":"fly","number":3}',
        b'{"number":3}',
        b'{"call":"stop","number":3}',
        b'{"call":"serve","number":3,"":[}',
    ],
)
def test_a_call_that_is_not_known_is_refused_and_the_next_is_received(unknown: bytes) -> None:
    """It is never acknowledged; what is not even JSON has no number to answer to."""
    with channel() as (worker, supervisor):
        supervisor.sendall(unknown + b'\n{"call":"serve","number":4}\n')

        assert worker.receive() == Serve(number=4)

        if not unknown.endswith(b"[}"):
            refused = received(supervisor)
            assert isinstance(refused, Refused)
            assert refused.number == 3
            assert refused.message.startswith("unknown call: ")


def test_the_supervisors_end_is_the_end_of_all_calls() -> None:
    with channel() as (worker, supervisor):
        supervisor.close()
        assert worker.receive() is None
