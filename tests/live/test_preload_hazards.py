"""What does not survive a fork is named before it happens; without that, it is what happens."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pytest_flaskd.ready import NotServing
from tests.support.daemons import PATIENCE, StartDaemon

pytestmark = pytest.mark.live

POOL: Final = """
import os, flask
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(1, thread_name_prefix="mailer")
assert pool.submit(int, "1").result() == 1
app = flask.Flask(__name__)
def stop(app):
    pool.shutdown()
"""

CONNECTION: Final = """
import os, socket, flask
connection = socket.create_connection(("127.0.0.1", int(os.environ["STORE"])))
def ask(key):
    connection.sendall(key + b"\\n")
    return connection.recv(100)
app = flask.Flask(__name__)
def close(app):
    connection.close()
"""

NATIVE: Final = """
import ctypes, flask
C = ctypes.CDLL(None)
def start(name):
    thread = ctypes.c_ulong()
    assert C.pthread_create(ctypes.byref(thread), None, ctypes.cast(C.sleep, ctypes.c_void_p), ctypes.c_void_p(60)) == 0
    if name:
        assert C.pthread_setname_np(thread, name) == 0
start(b"exporter")
start(b"")
app = flask.Flask(__name__)
"""

HARMLESS: Final = """
import os, socket, threading, flask
pair = socket.socketpair()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("127.0.0.1", 9))
waiting = socket.create_server(("127.0.0.1", 0))
done = threading.Event()
thread = threading.Thread(target=done.wait, name="ends-before-a-fork")
thread.start()
def end():
    done.set()
    thread.join()
os.register_at_fork(before=end)
app = flask.Flask(__name__)
"""


@pytest.fixture
def store() -> Iterator[int]:
    """A server that answers each line with that line; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections = []

        def answer(connection: socket.socket) -> None:
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(line)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(threading.Thread(target=answer, args=(connection,), daemon=True))
                connections[-1].start()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        server.join(PATIENCE)
        for thread in connections:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def check(directory: Path, application: str, *args: str, store: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `flaskd check --preload`."""
    (directory / "shop.py").write_text(application)
    return subprocess.run(
        [sys.executable, "-m", "flaskd", "check", "shop:app", "--preload", *args],
        cwd=directory,
        env={**os.environ, "STORE": str(store)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def python(directory: Path, code: str, store: int = 0) -> str:
    """Run code beside shop.py, as a process that forks without looking, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=directory,
        env={**os.environ, "STORE": str(store)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return ran.stdout


def test_a_live_thread_pool_is_named_and_its_work_is_never_done_in_a_fork(tmp_path: Path) -> None:
    """The fault first: the child's task waits for a thread that was not copied. Then `check` names that thread."""
    found = check(tmp_path, POOL)
    assert found.returncode == 1
    assert "the thread 'mailer_0' (_worker, " in found.stderr
    assert "--post-load" in found.stderr
    fault = """
import os, shop
if os.fork() == 0:
    try:
        shop.pool.submit(int, "2").result(timeout=0.5)
    except TimeoutError:
        print("never done", flush=True)
    os._exit(0)
os.wait()
"""
    assert python(tmp_path, fault) == "never done\n"
    assert check(tmp_path, POOL, "--pre-fork", "shop:stop").returncode == 0


def test_threads_that_python_does_not_know_are_named_if_their_library_has_named_them(tmp_path: Path) -> None:
    """A thread without a name has that of the process, which says nothing."""
    found = check(tmp_path, NATIVE)

    assert found.returncode == 1
    assert "a thread of a library, 'exporter'; a thread of a library" in found.stderr
    assert found.stderr.count("'exporter'") == found.stderr.count("of a library, ") == 1


def test_a_live_connection_is_named_by_its_peer_and_answers_the_wrong_process_in_a_fork(
    tmp_path: Path, store: int
) -> None:
    """One child asks, and another one reads the answer."""
    found = check(tmp_path, CONNECTION, store=store)
    assert found.returncode == 1
    assert f"a connection to 127.0.0.1:{store}" in found.stderr
    fault = """
import os, shop
shop.connection.sendall(b"the secret of worker 1\\n")
if os.fork() == 0:
    print("worker 2 reads", shop.connection.recv(100).decode(), end="", flush=True)
    os._exit(0)
os.wait()
"""
    assert python(tmp_path, fault, store) == "worker 2 reads the secret of worker 1\n"
    assert check(tmp_path, CONNECTION, "--pre-fork", "shop:close", store=store).returncode == 0


def test_what_survives_a_fork_is_let_through(tmp_path: Path) -> None:
    """A pair within the process, datagrams, a listener, and a thread that ends before each fork."""
    found = check(tmp_path, HARMLESS)
    assert (found.returncode, found.stderr) == (0, "")


def test_an_application_without_preload_may_have_threads(tmp_path: Path) -> None:
    """Nothing is looked for."""
    (tmp_path / "shop.py").write_text(POOL)
    command = [sys.executable, "-m", "flaskd", "check", "shop:app"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("shop:missing", "cannot load pre_fork shop:missing: shop has no attribute 'missing'"),
        ("shop:app.missing_method", "cannot load pre_fork"),
        ("shop:stop_wrongly", "pre_fork failed: NameError"),
        ("shop:wait", "pre_fork did not end within 0.5 s (--hook-timeout)"),
    ],
)
def test_a_pre_fork_that_fails_is_told_as_other_hooks_are(tmp_path: Path, hook: str, said: str) -> None:
    """By `check`, with exit code 1."""
    more = "\ndef stop_wrongly(app):\n    undefined\ndef wait(app):\n    import time; time.sleep(60)\n"
    ran = check(tmp_path, POOL + more, "--pre-fork", hook, "--hook-timeout", "0.5")
    assert (ran.returncode, said in ran.stderr) == (1, True), ran.stderr


def test_a_start_is_refused_and_a_reload_fails_for_a_thread(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Exit code 1 and the sentence of `check`; a reload leaves what serves."""
    (tmp_path / "shop.py").write_text(POOL)
    with pytest.raises(NotServing, match="ended with exit code 1") as failed:
        start_daemon("shop:app", "--preload", "--workers", "2", cwd=tmp_path)
    note = str(failed.value)
    assert note.count("the thread 'mailer_0'") == 1
    daemon = start_daemon("shop:app", "--preload", "--pre-fork", "shop:stop", cwd=tmp_path)
    assert "mailer" not in daemon.output()


def test_a_hook_before_the_fork_needs_preload(tmp_path: Path) -> None:
    """Without a fork there is nothing before it."""
    (tmp_path / "shop.py").write_text(POOL)
    command = [sys.executable, "-m", "flaskd", "check", "shop:app", "--pre-fork", "shop:stop"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.returncode, "--pre-fork needs --preload" in ran.stderr) == (1, True)
