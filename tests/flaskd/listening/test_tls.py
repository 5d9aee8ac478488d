"""HTTPS with either engine: served, stopped without losing a request; no client's silence or nonsense is another's concern."""

import contextlib
import datetime
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
import trustme
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from flaskd import Server
from flaskd.cli import main
from flaskd.engines.granian_engine.certificate import check_certificate
from flaskd.errors import ConfigError
from flaskd.listening import tls
from tests.flaskd.conftest import WAIT, App, Http

Serve = Callable[..., Server]
AUTHORITY = trustme.CA()


@pytest.fixture(params=["werkzeug", "granian"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each in turn."""
    return str(request.param)


@pytest.fixture
def serve(serve: Serve, engine: str) -> Serve:
    """Start servers with that engine."""
    return lambda application=None, **settings: serve(application, **{"engine": engine, **settings})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A certificate for 127.0.0.1 and its key, as settings."""
    issued = AUTHORITY.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    return {"tls_cert": str(certificate), "tls_key": str(key)}


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def address_of(server: Server) -> tuple[str, int]:
    host, port = server.listeners[0].removeprefix("https://").split(":")
    return host, int(port)


def client_of(server: Server) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(*address_of(server), context=trusting(), timeout=WAIT)


@contextlib.contextmanager
def wire(server: Server, context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    """Shake hands, and leave HTTP to the test; a connection that is cut raises SSLEOFError."""
    with (
        socket.create_connection(address_of(server), timeout=WAIT) as plain,
        (context or trusting()).wrap_socket(
            plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as client,
    ):
        yield client


def ask(client: ssl.SSLSocket) -> None:
    """GET / on a connection that is kept."""
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while not received.endswith(b"hello"):
        data = client.recv(65536)
        assert data, received
        received += data


def rest(client: ssl.SSLSocket) -> bytes:
    received = b""
    while data := client.recv(65536):
        received += data
    return received


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


def test_silence_ends_with_the_head_timeout(app: App, serve: Serve, files: dict[str, str]) -> None:
    """After the handshake as without TLS; granian then closes without a word."""
    with wire(serve(head_timeout=1.0, **files)) as client, contextlib.suppress(ssl.SSLEOFError):
        assert rest(client) == b""


def test_a_silent_handshake_ends_too(app: App, serve: Serve, engine: str, files: dict[str, str]) -> None:
    """With the head timeout, as any connection without a complete request head; granian has 10 s of its own."""
    silent = raw(serve(head_timeout=0.1, **files))
    silent.socket.settimeout(WAIT if engine == "werkzeug" else 0.3)
    with contextlib.nullcontext() if engine == "werkzeug" else pytest.raises(TimeoutError):
        assert silent.answer() == b""


def test_the_end_of_a_connection_is_told_as_tls_tells_it(
    app: App, serve: Serve, files: dict[str, str]
) -> None:
    """close_notify, so that a client can tell the end from a cut (RFC 8446, section 6.1)."""
    with wire(serve(**files)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert rest(client).endswith(b"hello")  # SSLEOFError where no close_notify came


def test_only_http_1_1_is_offered(app: App, serve: Serve, files: dict[str, str]) -> None:
    """Over HTTP/2 no client could be asked to leave; one that knows both finds the common one (RFC 7301)."""
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with wire(serve(**files), context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"


def test_old_versions_of_tls_are_refused(app: App, serve: Serve, files: dict[str, str]) -> None:
    """1.2 is the oldest."""
    context = trusting()
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = serve(**files)
    with pytest.raises(ssl.SSLError), wire(server, context):
        pass


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_newer_versions_are_spoken(
    version: ssl.TLSVersion, app: App, serve: Serve, files: dict[str, str]
) -> None:
    """And no client has to have the newest."""
    context = trusting()
    context.minimum_version = context.maximum_version = version
    with wire(serve(**files), context) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert rest(client).endswith(b"hello")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tls_key": ""}, "--tls-cert needs --tls-key"),
        ({"tls_cert": "/no/such/file"}, "cannot read /no/such/file for TLS: No such file"),
        ({"tls_key": "other"}, "does not match the certificate"),
        ({"tls_key": "nonsense"}, "cannot use"),
        ({"tls_key": "locked"}, "cannot use"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_bound(
    change: dict[str, str],
    said: str,
    app: App,
    engine: str,
    files: dict[str, str],
    tmp_path: Path,
    runtime_dir: str,
) -> None:
    """A sentence with the file's name; no passphrase is asked for."""
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
        Server(app, **{"bind": "127.0.0.1:0", "engine": engine, **files, **changed}).start()
    assert list(Path(runtime_dir).iterdir()) == []


# --- stopping


@pytest.mark.parametrize("linger", [0.0, 0.1])
@pytest.mark.parametrize("head", [b"", b"GET", b"GET /held HTTP/1.1\r\nHost: x\r\n"])
def test_half_a_head_holds_nothing_up_and_is_never_carried_out(
    head: bytes, linger: float, app: App, serve: Serve, files: dict[str, str]
) -> None:
    """Encrypted or not, it is no request."""
    server = serve(linger=linger, **files)
    with wire(server) as client:
        client.sendall(head)
        result = server.shutdown(grace=WAIT).result(WAIT)
        assert result.clean
        assert result.took < WAIT / 4
        with contextlib.suppress(OSError):  # cut, which TLS may show
            assert b"200" not in rest(client)
    assert not app.came.acquire(blocking=False)


@pytest.mark.parametrize("engine", ["granian"])
def test_a_kept_connection_in_use_is_asked_to_leave(app: App, serve: Serve, files: dict[str, str]) -> None:
    """Its request is answered, and its end is told; then there is nothing to linger for."""
    server = serve(linger=WAIT, **files)
    with wire(server) as client:
        ask(client)
        client.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.came.acquire(timeout=WAIT)
        begun = threading.Event()
        server.bus.subscribe(lambda event: begun.set() if getattr(event, "state", "") == "stopping" else None)
        stopped = server.shutdown(grace=WAIT * 2)
        assert begun.wait(WAIT)
        app.let_go.set()
        answer = rest(client).lower()
    assert b"connection: close" in answer
    assert answer.endswith(b"let go")
    result = stopped.result(WAIT)
    assert result.clean
    assert result.took < WAIT / 2


@pytest.mark.parametrize("engine", ["granian"])
def test_an_idle_connection_gets_the_linger_and_is_told_its_end(
    app: App, serve: Serve, files: dict[str, str]
) -> None:
    """A client that asks within it is served."""
    server = serve(linger=0.5, **files)
    with wire(server) as client:
        ask(client)
        stopped = server.shutdown(grace=WAIT)
        assert rest(client) == b""
    result = stopped.result(WAIT)
    assert result.clean
    assert 0.5 <= result.took < WAIT / 4


def test_the_deadline_cuts_and_counts(app: App, serve: Serve, files: dict[str, str]) -> None:
    """A client that does not read its response is counted by what is unsent, encrypted as it is."""
    app.add_url_rule("/large", "large", lambda: b"x" * 30_000_000)
    server = serve(**files)
    with wire(server) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1000)
        result = server.shutdown(grace=0.2).result(WAIT)
        assert (result.clean, result.connections_cut) == (False, 1)
        with pytest.raises(OSError, match=r"EOF|reset"):
            rest(client)


# --- what rustls takes


KEYS: dict[str, Callable[[], Any]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
    "rsa2048-3": lambda: rsa.generate_private_key(3, 2048),
}


def issue(kind: str, directory: Path) -> dict[str, str]:
    """Write a certificate with a key of that kind, signed with itself; returns both as settings."""
    key = KEYS[kind]()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, None if kind.startswith("ed") else hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "c.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "k.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"tls_cert": str(directory / "c.pem"), "tls_key": str(directory / "k.pem")}


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa2048"])
def test_the_usual_keys_are_served(kind: str, app: App, serve: Serve, tmp_path: Path) -> None:
    """With either engine; a context that trusts just this certificate finds it so."""
    settings = issue(kind, tmp_path)
    with wire(serve(**settings), ssl.create_default_context(cafile=settings["tls_cert"])) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert rest(client).endswith(b"hello")


@pytest.mark.parametrize("engine", ["granian"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [("p521", "on another curve"), ("ed448", "of another kind"), ("rsa2048-3", "a small exponent")],
)
def test_what_would_abort_the_process_is_refused(
    kind: str, said: str, app: App, serve: Serve, tmp_path: Path
) -> None:
    """OpenSSL takes it, rustls does not; the sentence names the file, what is wrong and the way out."""
    settings = issue(kind, tmp_path)
    tls.load(settings["tls_cert"], settings["tls_key"])
    with pytest.raises(ConfigError, match=rf"cannot use {settings['tls_cert']} for TLS: .*{said}") as caught:
        serve(**settings)
    assert "--engine werkzeug" in caught.value.hint


def test_flaskd_check_says_so_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where granian is what would serve."""
    settings = issue("p521", tmp_path)
    monkeypatch.chdir(tmp_path)
    options = ["--tls-cert", settings["tls_cert"], "--tls-key", settings["tls_key"]]
    refused = CliRunner().invoke(main, ["check", "shop:app", *options, "--engine", "granian"])
    assert (refused.exit_code, "on another curve" in refused.output) == (1, True)
    other = CliRunner().invoke(main, ["check", "shop:app", *options, "--engine", "werkzeug"])
    assert "on another curve" not in other.output


def test_a_certificate_without_its_label_is_refused(tmp_path: Path) -> None:
    """OpenSSL takes TRUSTED CERTIFICATE, too."""
    settings = issue("p256", tmp_path)
    text = Path(settings["tls_cert"]).read_text()
    Path(settings["tls_cert"]).write_text(text.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"))
    with pytest.raises(ConfigError, match="no block labelled CERTIFICATE"):
        check_certificate(settings["tls_cert"])


def test_a_certificate_of_version_1_is_refused(tmp_path: Path) -> None:
    """It begins with its serial number."""
    path = tmp_path / "c.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(bytes.fromhex("3005 3003 020101")))
    with pytest.raises(ConfigError, match="version 1"):
        check_certificate(str(path))
