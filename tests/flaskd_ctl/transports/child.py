"""A daemon that is a process: it ends when told on stdin, so that a test decides the order of things.

Run as `python child.py PATH`; says "listening", then a line for each request. `shutdown` and `kill` are answered, and the
process goes on until stdin ends. With `mute` after the path it answers nothing and ends the same way.
"""

import json
import os
import socket
import sys


def main(path: str, *, mute: bool) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("listening", flush=True)
        while True:
            link, _ = listener.accept()
            with link, link.makefile("rb") as lines:
                for line in lines:
                    request = json.loads(line)
                    if not mute:
                        shutdown = {
                            "clean": True,
                            "cut": [],
                            "connections_cut": 0,
                            "queued_cut": 0,
                            "answered": 0,
                        }
                        shutdown |= {
                            "took": 0.1,
                            "grace": 1.0,
                            "joined": False,
                            "pid": os.getpid(),
                            "process_exits": True,
                        }
                        state = {"state": "running", "pid": os.getpid(), "process_exits": True}
                        result = shutdown if request["method"] in {"shutdown", "kill"} else state
                        link.sendall(
                            json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode()
                            + b"\n"
                        )
                    print(request["method"], flush=True)
                    if mute or request["method"] in {"shutdown", "kill"}:
                        sys.stdin.read()
                        os.unlink(path)
                        return


main(sys.argv[1], mute="mute" in sys.argv)
