"""What the far end of an ssh connection says besides the instance's own words, without saying it.

`ssh://` joins two programs: the client here, and `flaskd_ctl dial-stdio` on the instance's host (`dial`), which carries lines
between its standard streams and the instance's plain socket. That far end alone can see whose socket it is and when the process
has ended, so it says so in lines of its own, which are JSON-RPC notifications that no instance sends:

    connected   the first line: the instance's name and pid, and whether its process can be watched; before it there may be
                what a login shell prints, which is passed over
    refused     in its place: there is no connection, and why
    ended       the instance has closed the connection; nothing of it comes after this
    silent      then: nothing listens at its place any more
    gone        then: its process has ended

A connection that breaks off without `ended` is ssh's end, not the instance's: what became of the instance is then not known.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Final

from flaskd_ctl.contract.conversation import Lines
from flaskd_ctl.contract.endpoint import Remote
from flaskd_ctl.errors import BY_NAME, ControlError, Failed

_MARK: Final = b'{"jsonrpc":"2.0","method":"dial","params":'


def ssh_command(remote: Remote, *, ssh: tuple[str, ...], there: tuple[str, ...]) -> list[str]:
    """Spell out the call of ssh: `ssh` with the user's own options, `there` the command on the other host.

    Nothing but the one stream is opened: no terminal, no forwarding, whatever the user's configuration opens for logins.
    """
    from shlex import join

    options = ["-T", "-a", "-x", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"]
    options += ["-p", str(remote.port)] if remote.port else []
    options += ["-l", remote.user] if remote.user else []
    far = [*there, *(["--name", remote.name] if remote.name else []), "dial-stdio"]
    return [*ssh, *options, "--", remote.host, join(far)]


class RemoteOutput:
    """What has come from the far end up to now: the instance's messages, and what became of the instance."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.connected: dict[str, Any] | None = None
        self.refused: ControlError | None = None
        self.ended: str | None = None
        self.silent = False
        self.gone = False
        self._lines = Lines()

    def feed(self, data: bytes) -> None:
        """Take what came."""
        for message in self._lines.feed(data):
            if self.connected is None:
                message = message[
                    max(0, message.find(_MARK)) :
                ]  # what was printed before may lack its line end
            if message.startswith(_MARK):
                self._note(message)
            elif self.connected is not None:
                self.messages.append(message)

    @property
    def sees_process(self) -> bool:
        """Whether the far end can tell the end of the process itself."""
        return bool((self.connected or {}).get("sees_process"))

    @property
    def pid(self) -> int | None:
        """The instance's pid on its host."""
        pid = (self.connected or {}).get("pid")
        return pid if isinstance(pid, int) else None

    def is_over(self, *, process_exits: bool) -> bool:
        """Tell whether the instance is gone; `process_exits` where its process ends with it."""
        return self.gone or (self.silent and not (process_exits and self.sees_process))

    def _note(self, message: bytes) -> None:
        try:
            told = json.loads(message)["params"]["event"]
            word = told["event"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return
        if word == "connected":
            self.connected = told
        elif word == "refused":
            self.refused = _refusal(told)
        elif word == "ended":
            self.ended = str(told.get("detail") or "")
        elif word == "silent":
            self.silent = True
        elif word == "gone":
            self.silent = self.gone = True


def line(word: str, **told: Any) -> bytes:
    """Write a line of the far end's own."""
    return _MARK + json.dumps({"event": {"event": word, **told}}).encode() + b"}\n"


def _refusal(told: dict[str, Any]) -> ControlError:
    kind = BY_NAME.get(str(told.get("name")), Failed)
    return kind(str(told.get("message") or "no reason was given"), hint=str(told.get("hint") or ""))
