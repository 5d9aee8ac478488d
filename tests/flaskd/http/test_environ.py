"""The environ of a request: what comes from the server, from the head, and from the connection."""

import socket
from pathlib import Path
from typing import Any

import pytest

from flaskd.http.environ import MAX_KEYS, HeaderKeys, request_environ, server_environ
from flaskd.http.syntax import parse_head


def made(
    head: bytes, *, address: Any = ("127.0.0.2", 5), server: dict[str, Any] | None = None
) -> dict[str, Any]:
    return request_environ(server or {}, parse_head(head), address, "body")


def test_the_server_is_where_it_listens() -> None:
    """Scheme and other processes are as they are said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = server_environ(listener, "shop/1", multiprocess=True, scheme="https")
        port = str(listener.getsockname()[1])
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["SERVER_SOFTWARE"]) == (
        "127.0.0.1",
        port,
        "shop/1",
    )
    assert (environ["wsgi.multiprocess"], environ["wsgi.url_scheme"]) == (True, "https")


def test_a_unix_socket_has_a_name_and_a_port_too(tmp_path: Path) -> None:
    """For URLs where there is no Host."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        environ = server_environ(listener, "shop/1", multiprocess=False)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["wsgi.multiprocess"]) == (
        "localhost",
        "80",
        False,
    )


def test_the_head_of_a_request_is_in_its_environ() -> None:
    """With the target as it was sent, and what the server has."""
    environ = made(b"GET /a%2Fb?c HTTP/1.1\r\nHost: x\r\nContent-Type: t\r\n\r\n", server={"SCRIPT_NAME": ""})
    assert environ == {
        "SCRIPT_NAME": "",
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "c",
        "RAW_URI": "/a%2Fb?c",
        "REQUEST_URI": "/a%2Fb?c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.2",
        "REMOTE_PORT": "5",
        "HTTP_HOST": "x",
        "CONTENT_TYPE": "t",
        "wsgi.input": "body",
        "wsgi.input_terminated": True,
    }


def test_a_client_on_a_unix_socket_has_no_address() -> None:
    """And no port."""
    environ = made(b"GET / HTTP/1.0\r\n\r\n", address="")
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


@pytest.mark.parametrize(
    ("fields", "key", "value"),
    [
        (b"A: 1\r\na: 2\r\n", "HTTP_A", "1, 2"),
        (b"Cookie: a=1\r\nCookie: b=2\r\n", "HTTP_COOKIE", "a=1; b=2"),
        (b"A_B: forged\r\n", "HTTP_A_B", None),
        (b"Content-Length: 007\r\n", "CONTENT_LENGTH", "7"),
        (b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n", "CONTENT_LENGTH", None),
    ],
)
def test_headers_have_the_keys_and_values_of_the_rfcs(fields: bytes, key: str, value: str | None) -> None:
    """Repeated ones are joined, with a space; one with an underscore is none; a length counts only where it does."""
    assert made(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n").get(key) == value


def test_names_are_remembered_but_not_without_bound() -> None:
    """Clients make them up; as bytes they have the same keys."""
    keys = HeaderKeys()
    assert keys["x-a"] == keys[b"X-A"] == "HTTP_X_A"
    for number in range(2 * MAX_KEYS):
        assert keys[f"x-{number}"] == f"HTTP_X_{number}"
    assert len(keys) == MAX_KEYS
