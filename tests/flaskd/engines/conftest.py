"""What the tests of several engines need: a child that the application forks, and a certificate."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.flaskd.conftest import App


@pytest.fixture
def forking(app: App) -> Iterator[None]:
    """`/fork` of the application forks a child, which lives until the test is over, and has to end well then."""
    read_end, write_end = os.pipe()
    children: list[int] = []

    def fork() -> str:
        child = os.fork()
        if child == 0:
            os.close(write_end)
            os.read(read_end, 1)  # until the test has seen enough
            os._exit(0)
        children.append(child)
        return "forked"

    app.add_url_rule("/fork", "fork", fork)
    yield
    os.close(write_end)
    os.close(read_end)
    (child,) = children
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, dict[str, str]]:
    """A client's context, and the settings of a server that it trusts."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context, {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
