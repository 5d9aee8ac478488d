"""What a test needs of the machine; without it the test is skipped with a reason, in CI it fails."""

import os
import shutil
import subprocess

import pytest

_SYSTEMD = "/lib/systemd/systemd"


def requires(*needs: str) -> pytest.MarkDecorator:
    """Mark a test that needs "root", "systemd" or "docker" (to boot one in namespaces), "user namespace", "vxlan", programs."""
    missing = [need for need in needs if not _present(need)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def _present(need: str) -> bool:
    if need == "root":
        return os.geteuid() == 0
    if need == "systemd":
        programs = ("systemctl", "unshare", "nsenter", "setpriv")
        return os.path.exists(_SYSTEMD) and all(map(shutil.which, programs)) and _namespaces()
    if need == "docker":
        parts = ("dockerd", "docker", "iptables", "ip", "ldd", "unshare", "nsenter", "setpriv")
        return all(map(shutil.which, parts)) and _namespaces()
    if need == "user namespace":  # refused in a chroot (user_namespaces(7))
        return _can("unshare", "--user", "--map-root-user", "true")
    if need == "vxlan":  # what an overlay network is made of
        return _can("unshare", "--net", "ip", "link", "add", "type", "vxlan", "id", "1", "dstport", "4789")
    return shutil.which(need) is not None


def _can(*command: str) -> bool:
    """Tell whether a command is there and succeeds."""
    return (
        shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0
    )


def _namespaces() -> bool:
    """Tell whether we may make the namespaces that a systemd or a dockerd needs (not so in most containers)."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        if not any(line.split()[2] == "cgroup2" for line in mounts):
            return False
    made = [
        "unshare",
        "--fork",
        "--pid",
        "--mount",
        "--cgroup",
        "--net",
        "mount",
        "-t",
        "tmpfs",
        "tmpfs",
        "/mnt",
    ]
    return subprocess.run(made, capture_output=True).returncode == 0
