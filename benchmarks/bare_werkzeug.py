"""Werkzeug's own threaded server and nothing else, stopped by `server.shutdown()` when SIGTERM comes.

    python -m benchmarks.bare_werkzeug benchmarks.hello:app PORT

listens on 127.0.0.1; with PORT 0 the kernel chooses the port. Requests are not logged, as with flaskd.
"""

import importlib
import logging
import signal
import sys
import threading

from werkzeug.serving import make_server


def main() -> None:
    """Serve until SIGTERM."""
    module, _, attribute = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = make_server("127.0.0.1", int(sys.argv[2]), app, threaded=True)

    def shut_down_on_signal() -> None:
        signal.sigwait({signal.SIGTERM})
        server.shutdown()

    threading.Thread(target=shut_down_on_signal, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
