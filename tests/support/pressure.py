"""Requests that keep threads busy, so that an instance needs more workers; each of them must be answered."""

import http.client
import threading
from typing import Self
from urllib.parse import urlsplit


class Pressure:
    """So many clients that ask for `path` again and again, until the block ends. `failures` says what went wrong."""

    def __init__(self, url: str, clients: int, *, path: str = "/delay/0.3", timeout: float = 60.0) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._path = path
        self._timeout = timeout
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(self._timeout + 10)

    def _ask(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
            try:
                connection.request("GET", self._path, headers={"Connection": "close"})
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            finally:
                connection.close()
            if response.status != 200:
                self.failures.append(f"status {response.status}")
                return
            self.answered += 1
