"""What a Flask application in a worker finds as `app.extensions["flaskd"]`."""

import threading

from flaskd.channel.messages import Asked
from flaskd.channel.worker_end import WorkerChannel
from flaskd.http.cancelling import shielded


class Extension:
    """The instance, of which this process is one worker. Each order goes to the supervisor; the methods return at once.

    See `flaskd.Extension`.
    """

    def __init__(self, channel: WorkerChannel, *, name: str, worker: int, generation: int) -> None:
        self.name = name
        self.worker = worker
        self.generation = generation
        self.stopping = threading.Event()
        self._channel = channel

    def shutdown(
        self,
        *,
        grace: float | None = None,
        lame_duck: float | None = None,
        wait_unrouted: float | None = None,
    ) -> None:
        """Stop the whole instance without losing a request, this one's included. Seconds; None is the setting."""
        asked = {"grace": grace, "lame_duck": lame_duck, "wait_unrouted": wait_unrouted}
        self._send(Asked("shutdown", asked))

    def drain(self) -> None:
        """Take the whole instance out of rotation."""
        self._send(Asked("drain"))

    def resume(self) -> None:
        """Put it back into rotation."""
        self._send(Asked("resume"))

    def _send(self, asked: Asked) -> None:
        with shielded():  # the channel's lock must be released, whatever happens to this request
            self._channel.send(asked)
