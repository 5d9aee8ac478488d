"""Kills by the kernel's OOM killer are told from others by the count of the control group."""

import asyncio
import sys
from pathlib import Path

import pytest

from flaskd.supervisor import process
from flaskd.supervisor.oom import OomKills
from tests.support.daemons import PATIENCE

V1 = "5:cpu,cpuacct:/elsewhere\n4:memory:{group}\n0::/\n"
V2 = "0::{group}\n"


def machine(tmp_path: Path, kind: str, *, group: str, root: str) -> tuple[OomKills, Path]:
    """Lay out /proc/self and a memory controller of this kind, with three kills so far."""
    v1 = kind == "v1"
    mount = tmp_path / "cgroup"
    directory = mount / (group.removeprefix(root.rstrip("/")).strip("/"))
    directory.mkdir(parents=True, exist_ok=True)
    counts = directory / ("memory.oom_control" if v1 else "memory.events")
    write(counts, kind, 3)
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text((V1 if v1 else V2).format(group=group))
    tail = "cgroup cgroup rw,memory" if v1 else "cgroup2 cgroup2 rw,nsdelegate"
    lines = [
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
        "31 23 0:28 / /none rw,relatime - cgroup cgroup rw,cpu,cpuacct",
        f"32 23 0:29 {root} {mount} rw,relatime - {tail}",
    ]
    (proc / "mountinfo").write_text("\n".join(lines) + "\n")
    return OomKills(str(proc)), counts


def write(counts: Path, kind: str, kills: int) -> None:
    before = "oom_kill_disable 0\nunder_oom 0\n" if kind == "v1" else "low 0\nhigh 0\nmax 9\noom 4\n"
    counts.write_text(f"{before}oom_kill {kills}\n")


@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize(
    ("group", "root"),
    [
        ("/", "/"),
        ("/system.slice/shop.service", "/"),
        ("/docker/1", "/docker/1"),
        ("/docker/1/a", "/docker/1"),
    ],
    ids=["root", "service", "container", "in a container"],
)
def test_each_kill_is_taken_once(tmp_path: Path, kind: str, group: str, root: str) -> None:
    """Kills from before do not count."""
    kills, counts = machine(tmp_path, kind, group=group, root=root)
    assert not kills.take()
    write(counts, kind, 5)
    assert [kills.take() for _ in range(3)] == [True, True, False]


def test_a_group_that_is_not_below_the_mount_is_looked_for_at_the_mount(tmp_path: Path) -> None:
    """So a container sees it that has the host's path, and only its own group mounted."""
    kills, _ = machine(tmp_path, "v2", group="/", root="/")
    (tmp_path / "proc" / "cgroup").write_text("0::/docker/4711\n")
    kills = OomKills(str(tmp_path / "proc"))
    write(tmp_path / "cgroup" / "memory.events", "v2", 4)
    assert kills.take()


@pytest.mark.parametrize("content", ["", "oom_kill_disable 0\n", "oom_kill many\n", "one two three\n"])
def test_a_kernel_without_the_count_has_no_kills(tmp_path: Path, content: str) -> None:
    """Nor has one whose file is not as known."""
    kills, counts = machine(tmp_path, "v1", group="/", root="/")
    counts.write_text(content)
    assert not kills.take()
    assert not OomKills(str(tmp_path / "absent")).take()


@pytest.mark.parametrize(
    ("program", "kill", "counted", "told"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            False,
            True,
            "killed by SIGKILL: out of memory (the kernel's OOM killer)",
        ),
        ("import os; os.kill(os.getpid(), 9)", False, False, "killed by SIGKILL"),
        ("import time; time.sleep(600)", True, True, "killed by SIGKILL"),
        ("import sys; sys.exit(3)", False, True, "exit code 3"),
    ],
)
def test_an_end_by_the_oom_killer_is_named(program: str, kill: bool, counted: bool, told: str) -> None:
    """Unless the supervisor has killed the process itself. Asked twice, the answer is the same."""
    taken = [counted]

    async def run() -> list[str | bool]:
        ended = asyncio.Event()
        child = process.start(
            [sys.executable, "-c", program],
            descriptors=[],
            stdout=2,
            stderr=2,
            directory=None,
            on_end=ended.set,
            by_oom=lambda: bool(taken) and taken.pop(),
        )
        if kill:
            child.kill()
        await asyncio.wait_for(ended.wait(), PATIENCE)
        return [child.how_it_ended, child.how_it_ended, child.out_of_memory]

    assert asyncio.run(run()) == [told, told, "out of memory" in told]
