"""Whose program is at the other end of a connection."""

import os
import socket
import subprocess
import sys

import pytest

from tests.flaskd_ctl.web.served import PATIENCE, served, shop
from tests.support.needs import requires

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from flaskd_ctl.web.peer import can_tell, own_users, user_of
from flaskd_ctl.web.server import listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

SOMEONE = 54_321
ASKS = """
import encodings.idna, http.client, os
os.setgroups([]); os.setresgid(*[{someone}] * 3); os.setresuid(*[{someone}] * 3)
connection = http.client.HTTPConnection("127.0.0.1", {port}, timeout=30)
connection.request("GET", {path!r}, headers={headers!r})
response = connection.getresponse()
print(response.status, response.read().decode())
"""


def test_the_owner_of_a_connection_is_known() -> None:
    with listening(0) as listener, socket.create_connection(listener.getsockname()) as client:
        assert can_tell(listener.getsockname())
        assert user_of(client.getsockname(), listener.getsockname()) == os.geteuid()


def test_a_connection_that_was_closed_has_no_owner() -> None:
    """What the kernel keeps of it for a minute says that its user is root."""
    with listening(0) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            address = client.getsockname()
            accepted, _ = listener.accept()
        assert user_of(address, listener.getsockname()) is None
        accepted.close()
        assert user_of(address, listener.getsockname()) is None


def test_a_socket_that_listens_on_the_clients_port_is_not_taken_for_it() -> None:
    with listening(0) as listener, listening(0) as other:
        assert user_of(other.getsockname(), listener.getsockname()) is None


def test_the_users_are_ours_roots_and_the_one_behind_sudo() -> None:
    assert own_users({}) == {0, os.getuid(), os.geteuid()}
    assert own_users({"SUDO_UID": "1234"}) == {0, os.getuid(), os.geteuid(), 1234}
    assert own_users({"SUDO_UID": "x"}) == own_users({"SUDO_UID": ""}) == own_users({})


@requires("root")
def test_another_user_is_refused_even_with_the_cookie_and_uses_no_token_up() -> None:
    watched, asked = shop()
    with served((watched, asked), users=own_users({})) as web:
        for path, headers in (("/api/instances", web.session), (f"/?token={web.guard.token}", {})):
            script = ASKS.format(someone=SOMEONE, port=web.port, path=path, headers=headers)
            ran = subprocess.run(
                [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=True
            )
            assert ran.stdout.startswith("403 ")
            assert "only for the user who has started" in ran.stdout
        assert watched.asked == []
        assert web.ask(f"/?token={web.guard.token}", headers={}).status == 303
        assert web.ask("/api/instances").status == 200
