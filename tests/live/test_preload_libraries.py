"""What docs/workers.md says of libraries with --preload, seen with them."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.live.test_preload_hazards import check
from tests.support.daemons import PATIENCE

pytestmark = pytest.mark.live

FLASK: Final = "import flask\napp = flask.Flask('shop')\n"

SQLALCHEMY: Final = f"""
import sqlalchemy
{FLASK}
engine = sqlalchemy.create_engine("sqlite:///shop.db")
def query():
    with engine.connect() as connection:
        return connection.execute(sqlalchemy.text("select 1")).scalar()
assert query() == 1
def dispose(app):
    engine.dispose()
"""

REQUESTS: Final = f"""
import os, requests
{FLASK}
session = requests.Session()
def ask():
    return session.get(f"http://127.0.0.1:{{os.environ['STORE']}}/").text
if os.environ.get("ASK"):
    assert ask() == "hello"
def close(app):
    session.close()
"""

OPENTELEMETRY: Final = f"""
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
{FLASK}
"""


class Hello(http.server.BaseHTTPRequestHandler):
    """Says hello, and keeps the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    """An HTTP server; its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(PATIENCE)


def test_sqlalchemy_with_sqlite(tmp_path: Path) -> None:
    """A connection to SQLite is a file, which is not looked at; a disposed engine has none."""
    assert check(tmp_path, SQLALCHEMY).returncode == 0
    disposed = check(tmp_path, SQLALCHEMY, "--pre-fork", "shop:dispose")
    assert (disposed.returncode, disposed.stderr) == (0, "")


def test_a_session_of_requests(tmp_path: Path, web: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its connection once it has asked, until it is closed."""
    assert check(tmp_path, REQUESTS, store=web).returncode == 0
    monkeypatch.setenv("ASK", "yes")
    kept = check(tmp_path, REQUESTS, store=web)
    assert (kept.returncode, f"a connection to 127.0.0.1:{web}" in kept.stderr) == (1, True)
    assert check(tmp_path, REQUESTS, "--pre-fork", "shop:close", store=web).returncode == 0


@pytest.mark.parametrize(
    ("made", "thread"),
    [
        ("TracerProvider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))", ""),
        ("TracerProvider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))", "Otel"),
        ("MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())])", "Otel"),
    ],
)
def test_opentelemetry(tmp_path: Path, made: str, thread: str) -> None:
    """What exports on a thread of its own is refused, and the thread is named."""
    found = check(tmp_path, f"{OPENTELEMETRY}\nprovider = {made}\n")
    assert found.returncode == bool(thread), found.stderr
    assert thread in found.stderr
