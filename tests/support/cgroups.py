"""Control groups of v1 or v2 that a test makes, to run a process with less CPU time and memory than the machine has."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskd.process.cgroup import Group, groups
from tests.support.daemons import PATIENCE

PERIOD = 100_000


@contextlib.contextmanager
def limited(name: str, *, cpus: float = 0, memory: int = 0) -> Iterator[list[str]]:
    """Make a group inside ours; yield what is put in front of a command, so that it runs there. Skips where we may not."""
    made: list[Path] = []
    try:
        if cpus:
            made.append(_make("cpu", f"flaskd-{name}-{os.getpid()}", cpus=cpus))
        if memory:
            made.append(_make("memory", f"flaskd-{name}-{os.getpid()}", memory=memory))
        joins = [f"echo $$ > '{directory}/cgroup.procs'" for directory in dict.fromkeys(made)]
        yield ["/bin/sh", "-c", "; ".join([*joins, 'exec "$@"']), "sh"]
    finally:
        for directory in dict.fromkeys(made):
            _remove(directory)


def _make(controller: str, name: str, *, cpus: float = 0, memory: int = 0) -> Path:
    own = Path("/proc/self")
    found = groups(controller, (own / "cgroup").read_text(), (own / "mountinfo").read_text())
    usable = [each for each in found if _has(each, controller)]
    if not usable:
        pytest.skip(f"needs a mounted control group with the {controller} controller")
    parent, version = usable[0]
    directory = Path(parent, name)
    try:
        directory.mkdir(exist_ok=True)
        if version == 1 and cpus:
            (directory / "cpu.cfs_period_us").write_text(str(PERIOD))
            (directory / "cpu.cfs_quota_us").write_text(str(int(cpus * PERIOD)))
        elif cpus:
            (directory / "cpu.max").write_text(f"{int(cpus * PERIOD)} {PERIOD}")
        elif memory:
            (directory / ("memory.limit_in_bytes" if version == 1 else "memory.max")).write_text(str(memory))
    except OSError as error:
        pytest.skip(f"needs a control group that it may change: {error}")
    return directory


def _has(group: Group, controller: str) -> bool:
    """Tell whether groups inside this one have the controller."""
    if group.version == 1:
        return os.path.exists(group.directory)
    with contextlib.suppress(OSError):
        switch = Path(group.directory, "cgroup.subtree_control")
        if controller not in switch.read_text().split():
            switch.write_text(f"+{controller}")
        return True
    return False


def _remove(directory: Path) -> None:
    """Remove a group when its processes are gone; the kernel needs a moment for that."""
    until = time.monotonic() + PATIENCE
    while directory.exists():
        try:
            directory.rmdir()
        except OSError:
            assert time.monotonic() < until, f"{directory} still has processes"
            time.sleep(0.05)
