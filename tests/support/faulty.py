"""An application that does what applications should not; `WHEN_IMPORTED` holds Python that it runs when it is imported."""

import ctypes
import os
import subprocess
import sys
import threading

from flask import Flask

from tests.support.gated import hold

exec(os.environ.get("WHEN_IMPORTED", ""))  # a test's own

app = Flask(__name__)
quiet = threading.Event()


@app.get("/")
def front() -> str:
    """Answer at once."""
    return "front\n"


@app.get("/held/<label>")
def held(label: str) -> str:
    """Answer when let go."""
    hold(label)
    return "let go\n"


@app.get("/gil/<int:seconds>")
def keep_gil(seconds: int) -> str:
    """Sleep in C without giving up the GIL, once the test has been told."""
    hold("gil")
    ctypes.PyDLL(None).sleep(seconds)
    return "awake\n"


@app.get("/fail")
def fail() -> str:
    """Raise."""
    raise ValueError("a fault of the application's")


@app.post("/exit/<int:code>")
def end(code: int) -> str:
    """End the process without any clean-up."""
    os._exit(code)


@app.post("/close")
def close() -> str:
    """Close every descriptor, as a careless daemonizing library does."""
    os.closerange(3, 4096)
    return "closed\n"


@app.post("/print/<int:lines>")
def write(lines: int) -> str:
    """Write so many lines to stdout and stderr."""
    for number in range(lines):
        print(f"line {number}")
        print(f"line {number}", file=sys.stderr)
    return "written\n"


@app.post("/flood")
def flood() -> str:
    """Write lines from now on, as fast as they are taken, until `/quiet`."""

    def pour() -> None:
        while not quiet.is_set():
            print("y\n" * 500, end="")

    quiet.clear()
    threading.Thread(target=pour, daemon=True).start()
    return "flood\n"


@app.post("/quiet")
def be_quiet() -> str:
    """End the flood."""
    quiet.set()
    return "quiet\n"


@app.post("/daemonize")
def daemonize() -> str:
    """Leave a process behind that has inherited all that a fork inherits, in a session of its own."""
    child = os.fork()
    if not child:
        os.setsid()
        if os.fork():
            os._exit(0)
        hold("daemonized")
        os._exit(0)
    os.waitpid(child, 0)
    return "daemonized\n"


@app.post("/spawn")
def spawn() -> str:
    """Leave a child process behind that goes on after us."""
    return f"{subprocess.Popen(['sleep', '1000']).pid}\n"
