"""Which unit this process is the main process of."""

import pytest

from flaskd.systemd.own_unit import restart_command

SYSTEM = "12:pids:/system.slice/other.service\n1:name=systemd:/system.slice/shop.service\n0::/system.slice/shop.service\n"
USER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/flaskd@shop.service\n"
MAIN = {"INVOCATION_ID": "f" * 32, "SYSTEMD_EXEC_PID": "7"}


@pytest.mark.parametrize(
    ("environ", "cgroup", "command"),
    [
        (MAIN, SYSTEM, "systemctl restart shop.service"),
        (MAIN, USER, "systemctl --user restart flaskd@shop.service"),
        ({"INVOCATION_ID": "f" * 32, "NOTIFY_SOCKET": "/run/x"}, SYSTEM, "systemctl restart shop.service"),
        (MAIN, "", "systemctl restart UNIT"),
        (MAIN, "0::/user.slice/session-1.scope\n", "systemctl restart UNIT"),
        ({"INVOCATION_ID": "f" * 32}, SYSTEM, ""),  # a shell in a service, say
        (MAIN | {"SYSTEMD_EXEC_PID": "6"}, SYSTEM, ""),
        ({"NOTIFY_SOCKET": "/run/x"}, SYSTEM, ""),
        ({}, SYSTEM, ""),
    ],
)
def test_the_command_restarts_the_unit_that_has_started_us(
    environ: dict[str, str], cgroup: str, command: str
) -> None:
    """And is none if the process only runs inside a unit."""
    assert restart_command(environ, 7, cgroup) == command
