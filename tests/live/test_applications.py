"""Real applications work the same with each engine and with gunicorn: WsgiDAV, Django's admin, dash, moto."""

import http.client
import http.cookies
import json
import os
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.http.servers import ENGINES, ROOT, Server, start
from tests.support.daemons import PATIENCE

pytestmark = [pytest.mark.live, pytest.mark.parametrize("server", [*ENGINES, "gunicorn"])]

MEGABYTE = bytes(range(256)) * 4096

Begin = Callable[..., "Site"]


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Site:
    """A served application, asked over plain HTTP by a client that keeps cookies."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.server.address)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, whose body is chunked if it is an iterator, and read the whole response."""
        connection = http.client.HTTPConnection(*self.server.address, timeout=PATIENCE)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {**({"Cookie": cookie} if cookie else {}), **(headers or {})}
        try:
            connection.request(method, path, body, sent, encode_chunked=True)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            error.add_note(f"{method} {path}; the server printed:\n{self.server.output()[-5000:]}")
            raise
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer


@pytest.fixture
def begin(server: str) -> Iterator[Begin]:
    """Serve an application: `begin("module:app", cwd=…, environ=…)`; it is ended by its pid."""
    running: list[Server] = []

    def serve(target: str, *, cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> Site:
        running.append(start(server, target, cwd=cwd, environ=environ))
        return Site(running[-1])

    yield serve
    for each in running:
        print(each.output()[-5000:])
        each.end()


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_wsgidav_stores_and_returns_files(begin: Begin, framing: str, tmp_path: Path) -> None:
    """PUT, PROPFIND, GET, COPY and DELETE of a megabyte, announced or chunked."""
    pytest.importorskip("wsgidav")
    site = begin("tests.apps.webdav:app", environ={"APP_DIR": str(tmp_path)})
    body = (
        MEGABYTE
        if framing == "Content-Length"
        else (MEGABYTE[at : at + 50_000] for at in range(0, len(MEGABYTE), 50_000))
    )
    assert site.ask("PUT", "/a%20file", body).status == 201
    assert (tmp_path / "a file").read_bytes() == MEGABYTE
    found = site.ask("PROPFIND", "/", headers={"Depth": "1"})
    assert found.status == 207
    assert b"/a%20file" in found.body
    assert str(len(MEGABYTE)).encode() in found.body
    read = site.ask("GET", "/a%20file")
    assert (read.status, read.body) == (200, MEGABYTE)
    part = site.ask("GET", "/a%20file", headers={"Range": "bytes=1000-1999"})
    assert (part.status, part.body) == (206, MEGABYTE[1000:2000])
    head = site.ask("HEAD", "/a%20file")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(MEGABYTE)), b"")
    copied = site.ask("COPY", "/a%20file", headers={"Destination": f"{site.url}/caf%C3%A9"})
    assert copied.status == 201
    assert site.ask("GET", "/caf%C3%A9").body == MEGABYTE
    assert site.ask("DELETE", "/a%20file").status == 204
    assert site.ask("GET", "/a%20file").status == 404


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project of Django's, its database made and with an administrator."""
    pytest.importorskip("django")
    directory = tmp_path_factory.mktemp("django")
    secret = {
        "DJANGO_SUPERUSER_PASSWORD": "secret",
        "DJANGO_SUPERUSER_USERNAME": "admin",
        "DJANGO_SUPERUSER_EMAIL": "a@b.example",
    }
    for command in (
        ("-m", "django", "startproject", "shop", "."),
        ("manage.py", "migrate"),
        ("manage.py", "createsuperuser", "--noinput"),
    ):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=directory,
            env={**os.environ, **secret},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return directory


def form(page: bytes, **fields: str) -> bytes:
    """Fill in a form of Django's, whose token is on the page; multipart, with the boundary `----`."""
    token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None, page[:2000]
    parts = {"csrfmiddlewaretoken": token[1].decode(), **fields}
    lines = [
        f'------\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    ]
    return "".join([*lines, "--------\r\n"]).encode()


def test_djangos_admin(begin: Begin, server: str, project: Path) -> None:
    """Log in, see the index, add a user, find it in the list."""
    site = begin("shop.wsgi:application", cwd=project)
    multipart = {"Content-Type": "multipart/form-data; boundary=----"}
    turned = site.ask("GET", "/admin/")
    assert (turned.status, turned.headers["Location"]) == (302, "/admin/login/?next=/admin/")
    page = site.ask("GET", "/admin/login/?next=/admin/")
    assert page.status == 200
    wrong = form(page.body, username="admin", password="wrong", next="/admin/")
    assert (
        b"Please enter the correct username and password"
        in site.ask("POST", "/admin/login/", wrong, multipart).body
    )
    right = form(page.body, username="admin", password="secret", next="/admin/")
    entered = site.ask("POST", "/admin/login/", right, multipart)
    assert (entered.status, entered.headers["Location"]) == (302, "/admin/")
    index = site.ask("GET", "/admin/")
    assert index.status == 200
    assert b"Site administration" in index.body
    name = f"by-{server}-\u00e9"
    blank = site.ask("GET", "/admin/auth/user/add/")
    filled = form(
        blank.body,
        username=name,
        usable_password="true",
        password1="long enough 1",
        password2="long enough 1",
    )
    added = site.ask("POST", "/admin/auth/user/add/", filled, multipart)
    assert added.status == 302, added.body
    assert re.fullmatch(r"/admin/auth/user/[0-9]+/change/", added.headers["Location"])
    listed = site.ask("GET", f"/admin/auth/user/?q={urllib.parse.quote(name)}")
    assert name.encode() in listed.body
    forged = site.ask(
        "POST", "/admin/auth/user/add/", b"username=x", {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert forged.status == 403


def test_dash(begin: Begin) -> None:
    """The page, its layout, its scripts, and a callback."""
    pytest.importorskip("dash")
    site = begin("tests.apps.dashboard:app")
    page = site.ask("GET", "/")
    assert page.status == 200
    scripts = re.findall(rb'src="(/_dash-component-suites/[^"]+)"', page.body)
    assert scripts
    for script in scripts:
        answer = site.ask("GET", script.decode())
        assert answer.status == 200, script
        assert len(answer.body) > 1000, script
    layout = json.loads(site.ask("GET", "/_dash-layout").body)
    assert [child["props"]["id"] for child in layout["props"]["children"]] == ["name", "greeting"]
    asked = {
        "output": "greeting.children",
        "outputs": {"id": "greeting", "property": "children"},
        "inputs": [{"id": "name", "property": "value", "value": "w\u00f6rld"}],
        "changedPropIds": ["name.value"],
    }
    called = site.ask(
        "POST", "/_dash-update-component", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    assert called.status == 200, called.body
    assert json.loads(called.body)["response"] == {"greeting": {"children": "hello w\u00f6rld"}}


@pytest.mark.filterwarnings("default")  # boto3's are not ours
def test_moto(begin: Begin) -> None:
    """A bucket, an object as boto3 sends it (100-continue), one in parts, and what AWS says of a missing one."""
    boto3 = pytest.importorskip("boto3")
    config = pytest.importorskip("botocore.config").Config(
        retries={"max_attempts": 0},
        connect_timeout=PATIENCE,
        read_timeout=PATIENCE,
        s3={"addressing_style": "path"},
    )
    site = begin("tests.apps.aws:app")
    who = {"aws_access_key_id": "who", "aws_secret_access_key": "knows", "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=site.url, config=config, **who)
    s3.create_bucket(Bucket="shop")
    s3.put_object(Bucket="shop", Key="a/b c \u00e9", Body=MEGABYTE, Metadata={"word": "x"})
    got = s3.get_object(Bucket="shop", Key="a/b c \u00e9")
    assert (got["Body"].read(), got["Metadata"]) == (MEGABYTE, {"word": "x"})
    part = s3.get_object(Bucket="shop", Key="a/b c \u00e9", Range="bytes=10-19")
    assert part["Body"].read() == MEGABYTE[10:20]
    upload = s3.create_multipart_upload(Bucket="shop", Key="parts")["UploadId"]
    sent = [
        s3.upload_part(Bucket="shop", Key="parts", UploadId=upload, PartNumber=number, Body=MEGABYTE * 5)[
            "ETag"
        ]
        for number in (1, 2)
    ]
    parts = [{"ETag": tag, "PartNumber": number} for number, tag in enumerate(sent, 1)]
    s3.complete_multipart_upload(
        Bucket="shop", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    listed = s3.list_objects_v2(Bucket="shop")["Contents"]
    assert [(each["Key"], each["Size"]) for each in listed] == [
        ("a/b c \u00e9", len(MEGABYTE)),
        ("parts", 10 * len(MEGABYTE)),
    ]
    assert s3.head_object(Bucket="shop", Key="parts")["ContentLength"] == 10 * len(MEGABYTE)
    s3.delete_object(Bucket="shop", Key="parts")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="shop", Key="parts")
    s3.close()
