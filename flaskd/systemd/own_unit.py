"""The unit of systemd that this process is the main process of."""

import re
from collections.abc import Mapping
from typing import Final

OF_A_USER: Final = re.compile(r"/user@[0-9]+\.service/")
"""The manager of a user runs in this unit; its own units are below it (systemd.special(7))."""

UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]+\.service")


def restart_command(environ: Mapping[str, str], pid: int, cgroup: str) -> str:
    """Return the command that restarts our unit: `systemctl restart shop.service`; "" if systemd has not started us.

    `cgroup` is the text of /proc/self/cgroup. Children inherit INVOCATION_ID, so it alone says nothing: a shell in a service
    has it too. SYSTEMD_EXEC_PID (systemd 248) and NOTIFY_SOCKET are for the main process (systemd.exec(5)).
    """
    ours = environ.get("SYSTEMD_EXEC_PID") == str(pid) or "NOTIFY_SOCKET" in environ
    if not ours or "INVOCATION_ID" not in environ:
        return ""
    for line in cgroup.splitlines():
        controllers, path = line.partition(":")[2].partition(":")[::2]
        name = path.rstrip("\n").rpartition("/")[2]
        if controllers in {"", "name=systemd"} and UNIT.fullmatch(name):
            user = "--user " if OF_A_USER.search(path) else ""
            return f"systemctl {user}restart {name}"
    return "systemctl restart UNIT"


def own_cgroup() -> str:
    """Return the text of /proc/self/cgroup; "" if there is none."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
