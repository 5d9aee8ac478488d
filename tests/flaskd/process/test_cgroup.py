"""Limits of CPU time and memory are those of the control group, and of every group above it that can be seen."""

import subprocess
import sys
from pathlib import Path

import pytest

from flaskd.process.capacity import Capacity, capacity
from flaskd.process.cgroup import ControlGroups, Group, Memory, groups
from tests.support.cgroups import limited
from tests.support.needs import requires

MIB = 1 << 20
NO_LIMIT = "9223372036854771712"

V1 = "9:name=systemd:/\n4:memory:{path}\n3:cpuset:/\n2:cpu,cpuacct:{path}\n0::/\n"
V2 = "0::{path}\n"


class Machine:
    """A /proc and a hierarchy of control groups below `tmp_path`."""

    def __init__(self, tmp_path: Path, version: int, *, path: str, root: str = "/") -> None:
        self.version = version
        self.mounts = {
            name: tmp_path / "cg roup" / name for name in (("cpu", "memory") if version == 1 else ("",))
        }
        self.proc = tmp_path / "proc"
        self.own = self.proc / "self"
        self.own.mkdir(parents=True)
        (self.own / "cgroup").write_text((V1 if version == 1 else V2).format(path=path))
        lines = ["22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", "no mount at all", ""]
        for name, mount in self.mounts.items():
            mount.mkdir(parents=True)
            tail = {"cpu": "cgroup cgroup rw,cpu,cpuacct", "memory": "cgroup cgroup rw,memory"}.get(
                name, "cgroup2 cgroup2 rw,nsdelegate"
            )
            lines.append(
                f"32 23 0:29 {root} {str(mount).replace(' ', chr(92) + '040')} rw shared:2 master:1 - {tail}"
            )
        if version == 1:  # as on a hybrid machine: a second hierarchy, without controllers
            empty = tmp_path / "unified"
            empty.mkdir()
            lines.append(f"41 31 0:38 / {empty} rw,relatime - cgroup2 cgroup2 rw")
        (self.own / "mountinfo").write_text("\n".join(lines))

    def cpu(self, group: str, quota: int | None, period: int = 100_000) -> None:
        """Set a group's quota in microseconds."""
        if self.version == 1:
            self._write("cpu", group, "cpu.cfs_quota_us", "-1" if quota is None else quota)
            self._write("cpu", group, "cpu.cfs_period_us", period)
        else:
            self._write("", group, "cpu.max", f"{'max' if quota is None else quota} {period}")

    def memory(self, group: str, limit: int | None, *, used: int = 0, cached: int = 0) -> None:
        """Set a group's memory limit and use, of which `cached` are files."""
        if self.version == 1:
            self._write("memory", group, "memory.limit_in_bytes", limit or NO_LIMIT)
            self._write("memory", group, "memory.usage_in_bytes", used)
            stat = f"cache 1\nhierarchical_memory_limit {limit or NO_LIMIT}\ntotal_inactive_file {cached}"
            self._write("memory", group, "memory.stat", stat)
        else:
            self._write("", group, "memory.max", limit or "max")
            self._write("", group, "memory.high", "max")
            self._write("", group, "memory.current", used)
            self._write("", group, "memory.stat", f"anon 1\ninactive_file {cached}")

    def meminfo(self, total: int, available: int) -> None:
        """Say how much memory the machine has."""
        lines = f"MemTotal: {total // 1024} kB\nMemAvailable: {available // 1024} kB\nHugePages_Total: 0\n"
        (self.proc / "meminfo").write_text(lines)

    def _write(self, controller: str, group: str, name: str, content: object) -> None:
        directory = self.mounts[controller] / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{content}\n")

    @property
    def groups(self) -> ControlGroups:
        """The groups as flaskd sees them."""
        return ControlGroups(str(self.own))


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    """Each version of control groups."""
    number: int = request.param
    return number


def test_the_smallest_limit_of_all_groups_above_counts(tmp_path: Path, version: int) -> None:
    """A service in a slice has no more than the slice."""
    machine = Machine(tmp_path, version, path="/shop.slice/web.service")
    machine.cpu("", None)
    machine.cpu("shop.slice", 150_000)
    machine.cpu("shop.slice/web.service", 400_000)
    machine.memory("shop.slice", 512 * MIB, used=100 * MIB)
    machine.memory("shop.slice/web.service", 256 * MIB, used=50 * MIB, cached=30 * MIB)
    assert machine.groups.cpus() == 1.5
    assert machine.groups.memory() == Memory(256 * MIB, 236 * MIB)

    machine.memory("shop.slice", 512 * MIB, used=500 * MIB, cached=20 * MIB)
    assert machine.groups.memory() == Memory(256 * MIB, 32 * MIB), "another service has used the slice up"
    machine.memory("shop.slice", 128 * MIB, used=200 * MIB)
    assert machine.groups.memory() == Memory(128 * MIB, 0)


def test_without_limits_there_are_none(tmp_path: Path, version: int) -> None:
    """Neither "max" nor the largest number that v1 has is a limit, and neither is a missing or unreadable file."""
    machine = Machine(tmp_path, version, path="/a")
    assert (machine.groups.cpus(), machine.groups.memory()) == (None, None)
    machine.cpu("a", None)
    machine.memory("a", None, used=5)
    assert (machine.groups.cpus(), machine.groups.memory()) == (None, None)
    machine.cpu("a", 0)
    assert machine.groups.cpus() is None
    assert ControlGroups(str(tmp_path / "absent")).memory() is None


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/", "/", ""),  # in a namespace of its own
        ("/docker/47", "/docker/47", ""),  # v1 in a container: only its own group is mounted
        ("/docker/47/a", "/docker/47", "a"),
        ("/../../elsewhere", "/", ""),  # a group outside the namespace
        ("/docker/47", "/docker/4", ""),  # another group's name begins like ours
    ],
)
def test_a_container_finds_its_own_group(
    tmp_path: Path, version: int, path: str, root: str, below: str
) -> None:
    """However much of the hierarchy it sees, and by whatever path."""
    machine = Machine(tmp_path, version, path=path, root=root)
    machine.cpu(below, 50_000)
    machine.memory(below, 64 * MIB)
    assert machine.groups.cpus() == 0.5
    assert machine.groups.memory() == Memory(64 * MIB, 64 * MIB)


def test_the_limit_above_a_container_is_known_by_the_sum_in_v1(tmp_path: Path) -> None:
    """The kernel puts the smallest limit of all groups above into memory.stat, also of those that are not mounted."""
    machine = Machine(tmp_path, 1, path="/", root="/")
    machine.memory("", 64 * MIB, used=10 * MIB)
    (machine.mounts["memory"] / "memory.limit_in_bytes").write_text(NO_LIMIT)
    assert machine.groups.memory() == Memory(64 * MIB, 54 * MIB)


def test_the_limit_where_the_kernel_slows_down_counts_in_v2(tmp_path: Path) -> None:
    """systemd's MemoryHigh= below MemoryMax=."""
    machine = Machine(tmp_path, 2, path="/a")
    machine.memory("a", 64 * MIB, used=10 * MIB)
    (machine.mounts[""] / "a" / "memory.high").write_text(str(32 * MIB))
    assert machine.groups.memory() == Memory(32 * MIB, 22 * MIB)


def test_groups_are_listed_from_the_own_one_up() -> None:
    """A line that is none is left out."""
    mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n31 x"
    assert groups("cpu", "0::/a/b\nrubbish", mounts) == [
        Group("/sys/fs/cgroup/a/b", 2),
        Group("/sys/fs/cgroup/a", 2),
        Group("/sys/fs/cgroup", 2),
    ]
    assert groups("cpu", "", mounts) == []


@pytest.mark.parametrize(
    ("cores", "quota", "cpus"),
    [
        (8, None, 8),
        (8, 2.0, 2),
        (8, 1.5, 2),
        (8, 2.05, 2),
        (8, 0.2, 1),
        (8, 0.05, 1),
        (2, 64.0, 2),
        (129, 0.5, 1),
    ],
)
def test_a_quota_is_rounded_up_to_whole_cpus(cores: int, quota: float | None, cpus: int) -> None:
    """One process at least, and no more than there are cores."""
    found = Capacity(cores, quota)
    assert found.cpus == cpus
    assert found.cpu_time == min(cores, cores if quota is None else quota)


def test_the_smaller_of_group_and_machine_counts(tmp_path: Path, version: int) -> None:
    """A group may be allowed more than the machine has."""
    machine = Machine(tmp_path, version, path="/a")
    machine.memory("a", 512 * MIB, used=12 * MIB)
    machine.meminfo(1024 * MIB, 400 * MIB)
    found = capacity(str(machine.proc))
    assert (found.memory, found.limited) == (Memory(512 * MIB, 400 * MIB), True)

    machine.meminfo(256 * MIB, 200 * MIB)
    found = capacity(str(machine.proc))
    assert (found.memory, found.limited) == (Memory(256 * MIB, 200 * MIB), False)
    (machine.proc / "meminfo").unlink()
    assert capacity(str(machine.proc)).memory == Memory(512 * MIB, 500 * MIB)
    machine.memory("a", None)
    assert capacity(str(machine.proc)).memory is None


ASK = "from flaskd.process.capacity import capacity as c; f = c(); print(f.quota, f.memory.limit, f.limited, f.memory.free > 0)"


@requires("root")
def test_a_process_in_a_real_group_knows_its_limits() -> None:
    """The kernel's own files, of the version that this machine has."""
    with limited("capacity", cpus=1.5, memory=64 * MIB) as prefix:
        shown = subprocess.run(
            [*prefix, sys.executable, "-c", ASK], capture_output=True, text=True, timeout=60, check=True
        )
    assert shown.stdout.split() == ["1.5", str(64 * MIB), "True", "True"]
