"""What a template answers, and how far it is believed."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flaskd.channel.messages import LoadTemplate
from flaskd.channel.supervisor_end import SupervisorChannel
from flaskd.process.cgroup import Memory
from flaskd.process.memory import anonymous_file
from flaskd.settings.schema import Settings
from flaskd.supervisor.process import Process
from flaskd.supervisor.template import Template
from flaskd.supervisor.templates import second_copy
from tests.support.daemons import PATIENCE

MIB = 1 << 20


@contextmanager
def a_child() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of ours that does nothing until it is killed."""
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        try:
            yield child
        finally:
            child.kill()


async def fork(answer: dict[str, Any], children: set[int]) -> tuple[list[str], list[int]]:
    """Order a fork and answer it so; return what was said of the worker, and its pids."""
    said: list[str] = []
    pids: list[int] = []
    ours, theirs = socket.socketpair()
    with a_child() as process, theirs:
        stacks = anonymous_file("stacks")
        template = Template(
            generation=1,
            stacks=stacks,
            on_change=lambda template: None,
            on_fork=lambda: None,
            children=lambda: children,
        )
        channel = SupervisorChannel(ours, on_event=lambda event: None, on_end=template.channel_ended)
        gone = asyncio.Event()

        def ended() -> None:
            template.process_ended()
            gone.set()

        running = Process(process, ended, lambda: False)
        template.launched(
            running, channel, LoadTemplate(settings=Settings(), engine="", stacks=stacks, records=0)
        )
        done = asyncio.Event()

        def started() -> None:
            pids.append(forked.pid)
            done.set()

        read_end, write_end = os.pipe()
        forked = template.fork(
            [write_end],
            on_start=started,
            on_refused=lambda error: said.append(str(error)),
            on_end=done.set,
            by_oom=lambda: False,
        )
        os.close(write_end)
        theirs.sendall(b'{"type": "template_loaded", "number": 1}\n')
        theirs.sendall(json.dumps({"number": 2, **answer}).encode() + b"\n")
        await asyncio.wait_for(done.wait(), PATIENCE)
        data, descriptors, _, _ = socket.recv_fds(theirs, 65536, 8)
        assert data.count(b"\n") == 2
        for descriptor in descriptors:
            os.write(descriptor, b"given")
            os.close(descriptor)
        assert os.read(read_end, 10) == b"given"
        assert os.read(read_end, 10) == b"", "a descriptor that was sent is still open here"
        os.close(read_end)
        forked.kill()
        forked.close()
        template.end()
        await asyncio.wait_for(gone.wait(), PATIENCE)
        await asyncio.sleep(0)
    return said, pids


def test_a_process_that_it_has_forked_is_the_workers() -> None:
    """It is a child of ours: the kernel says so."""
    with a_child() as child:
        said, pids = asyncio.run(fork({"type": "forked", "pid": child.pid}, set()))
        assert (said, pids) == ([], [child.pid])
        child.returncode = -signal.SIGKILL  # it was waited for


def test_another_child_of_the_supervisor_is_not_taken_for_a_worker() -> None:
    """Else a template could have another worker killed in the place of its own."""
    with a_child() as child:
        said, pids = asyncio.run(fork({"type": "forked", "pid": child.pid}, {child.pid}))
        assert pids == []
        assert "named no process of its own" in said[0]
        assert child.poll() is None


def test_a_process_that_is_no_child_of_the_supervisor_is_not_taken_for_a_worker() -> None:
    """Else a supervisor that is root could be made to kill anything."""
    said, pids = asyncio.run(fork({"type": "forked", "pid": os.getppid()}, set()))
    assert pids == []
    assert f"has forked {os.getppid()}: [Errno 10] No child processes" in said[0]


def test_what_keeps_it_from_forking_is_told() -> None:
    """The worker's start fails with it."""
    refused = {"type": "refused", "message": "no further process can be started", "hint": "raise it"}
    assert asyncio.run(fork(refused, set())) == (["no further process can be started"], [])


@pytest.mark.parametrize(("size", "free", "warns"), [(100, 200, False), (200, 200, False), (201, 200, True)])
def test_a_second_copy_that_may_not_fit_is_warned_of_with_the_numbers(
    size: int, free: int, warns: bool
) -> None:
    """What the first copy has is what the second one is expected to need."""
    said = second_copy(size * MIB, Memory(limit=512 * MIB, free=free * MIB))
    assert bool(said) is warns
    assert not warns or ("201 MiB" in said and "512 MiB" in said and "200 MiB" in said)
