"""HTTPS: served, stopped without losing a request, and no client's silence or nonsense is another's concern."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
import trustme

from flaskd import Server
from flaskd.errors import ConfigError
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
AUTHORITY = trustme.CA()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A certificate for 127.0.0.1 and its key, as settings."""
    issued = AUTHORITY.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return {"tls_cert": str(certificate), "tls_key": str(key)}


def client_of(server: Server) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    host, port = server.listeners[0].removeprefix("https://").split(":")
    return http.client.HTTPSConnection(host, int(port), context=context, timeout=WAIT)


def get(server: Server, path: str) -> bytes:
    client = client_of(server)
    try:
        client.request("GET", path)
        return client.getresponse().read()
    finally:
        client.close()


def raw(server: Server, sent: bytes = b"") -> Http:
    return Http(server.listeners[0].replace("https", "http"), sent)


def test_https_is_served_and_the_application_knows(app: App, serve: Serve, files: dict[str, str]) -> None:
    """The URL says https, and so does the request."""
    app.add_url_rule("/scheme", "scheme", lambda: flask.request.scheme)
    server = serve(**files)
    assert server.listeners[0].startswith("https://")
    assert get(server, "/scheme") == b"https"


def test_what_is_in_flight_is_answered_in_full_when_it_stops(
    app: App, serve: Serve, files: dict[str, str]
) -> None:
    """Also a large response that the client reads slowly."""
    size = 10_000_000
    app.add_url_rule("/large", "large", lambda: (app.held(), b"x" * size)[1])
    server = serve(**files)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(len(get(server, "/large"))))
    thread.start()
    assert app.came.acquire(timeout=WAIT)
    stopped = server.shutdown(grace=WAIT)
    app.let_go.set()
    thread.join(WAIT)
    assert answers == [size]
    assert stopped.result(WAIT).clean


def test_who_never_shakes_hands_keeps_nobody_from_being_served(
    app: App, serve: Serve, files: dict[str, str]
) -> None:
    """Silence costs a thread until the head timeout, nonsense nothing; neither holds a stop up beyond the linger."""
    server = serve(threads=4, **files)
    silent = [raw(server), raw(server, b"\x16\x03\x01")]
    assert b"hello" not in raw(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").answer()
    assert get(server, "/") == b"hello"
    result = server.shutdown(grace=WAIT).result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2
    for one in silent:
        one.answer()


def test_a_silent_handshake_ends_with_the_head_timeout(app: App, serve: Serve, files: dict[str, str]) -> None:
    """As any connection without a complete request head."""
    assert raw(serve(head_timeout=0.1, **files)).answer() == b""


def test_the_end_of_a_connection_is_told_as_tls_tells_it(
    app: App, serve: Serve, files: dict[str, str]
) -> None:
    """close_notify, so that a client can tell the end from a cut (RFC 8446, section 6.1)."""
    server = serve(**files)
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    host, port = server.listeners[0].removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname=host, suppress_ragged_eofs=False) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while data := client.recv(65536):  # SSLEOFError where no close_notify came
            received += data
    assert received.endswith(b"hello")


def test_old_versions_of_tls_are_refused(app: App, serve: Serve, files: dict[str, str]) -> None:
    """1.2 is the oldest."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = serve(**files)
    host, port = server.listeners[0].removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=host)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tls_key": ""}, "TLS needs both"),
        ({"tls_cert": "/no/such/file"}, "cannot read /no/such/file for TLS: No such file"),
        ({"tls_key": "other"}, "does not fit the certificate"),
        ({"tls_key": "nonsense"}, "cannot use"),
        ({"tls_key": "locked"}, "cannot use"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_bound(
    change: dict[str, str], said: str, app: App, files: dict[str, str], tmp_path: Path, runtime_dir: str
) -> None:
    """A sentence with the file's name; no passphrase is asked for."""
    from cryptography.hazmat.primitives import serialization

    key = AUTHORITY.issue_cert("other").private_key_pem
    key.write_to_path(tmp_path / "other")
    (tmp_path / "nonsense").write_text("nonsense")
    locked = serialization.load_pem_private_key(key.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked").write_bytes(locked)
    changed: dict[str, Any] = {
        name: str(tmp_path / value) if value.isalpha() else value for name, value in change.items()
    }
    with pytest.raises(ConfigError, match=said):
        Server(app, **{"bind": "127.0.0.1:0", **files, **changed}).start()
    assert list(Path(runtime_dir).iterdir()) == []
