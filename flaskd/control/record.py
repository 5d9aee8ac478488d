"""The record that our process writes, while its control sockets listen (`flaskd_ctl.contract.process_record`).

It refuses a second instance of the name where the lock cannot, since somebody has removed its file. And it keeps clients from
taking an instance for stopped whose sockets were removed. A record that cannot be written keeps nobody from starting.
"""

import contextlib
import os
import time

from flaskd.audit.files import write_atomically
from flaskd.audit.last_stop import state_directory
from flaskd.control.lock import name_taken
from flaskd_ctl.contract.endpoint import Place
from flaskd_ctl.contract.files import read_object
from flaskd_ctl.contract.process_record import file_name, identify, is_alive


class ProcessRecord:
    """The record of the instance at `place`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._path = os.path.join(state_directory(os.environ), file_name(place.directory))

    def refuse_second(self) -> None:
        """Raise NameTaken if the process of a record that is there runs."""
        there = read_object(self._path)
        if is_alive(there):
            raise name_taken(self._place, int(there["pid"]))

    def write(self) -> None:
        """Write it, if there is a place for it."""
        place = self._place
        facts = {"name": place.name, "directory": place.directory, "started": time.time()}
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            write_atomically(self._path, facts | identify(os.getpid()))

    def remove(self) -> None:
        """Remove it, if it is ours."""
        with contextlib.suppress(OSError):
            if read_object(self._path).get("pid") == os.getpid():
                os.unlink(self._path)
