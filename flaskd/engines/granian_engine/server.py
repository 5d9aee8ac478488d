"""What all requests of a granian engine share."""

from flaskd.engines.granian_engine.body import Discarder
from flaskd.engines.granian_engine.connections import ConnectionCounter, ConnectionFinder
from flaskd.engines.granian_engine.native_threads import CallerIds
from flaskd.engines.granian_engine.run_queue import RunQueue
from flaskd.engines.protocol import Options
from flaskd.engines.shared.load_share import LoadShare


class Server:
    """What all requests of an engine share.

    `running` has the thread of each request in the application; `threads` are the ids of all threads that granian has called
    on. Without `keepalive` each response says `Connection: close`.
    """

    __slots__ = (
        "caller_ids",
        "connections",
        "counter",
        "discarder",
        "keepalive",
        "load_share",
        "options",
        "queue",
        "running",
        "threads",
    )

    def __init__(self, options: Options) -> None:
        self.options = options
        self.keepalive = True
        self.load_share = options.load_share or LoadShare()
        self.connections = ConnectionFinder([])
        self.counter = ConnectionCounter(self.connections, [])
        self.running: dict[int, int] = {}
        self.threads: set[int] = set()
        self.caller_ids = CallerIds(self.threads)
        self.threads.clear()  # this thread is none of granian's
        self.discarder = Discarder(options.threads // 2)
        self.queue = RunQueue(options.threads, options.waiting, max_wait=options.max_queue_time)

    def load(self) -> tuple[int, int]:
        """Count open connections and requests in the application."""
        return self.counter.count(), len(self.running)
