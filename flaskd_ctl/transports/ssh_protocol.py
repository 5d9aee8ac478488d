"""What the other end of an ssh connection writes besides the instance's own messages, sans I/O.

`ssh://` connects two programs: the client, and `flaskd_ctl dial-stdio` on the instance's host, which relays lines between its
standard streams and the instance's plain socket. Only that command can see whose socket it is and when the process has ended.
It reports this in lines of its own: JSON-RPC notifications that no instance sends.

    connected   the first line: the instance's name and pid, and whether its process can be watched. What a login shell prints
                before it is skipped
    refused     instead: there is no connection, and why
    ended       the instance has closed the connection; no message of it follows
    silent      then: nothing listens at its socket any more
    gone        then: its process has ended

If the connection breaks off without `ended`, ssh has ended, and it is not known what has become of the instance.
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
    """Make the ssh command line: `ssh` with the user's own options, `there` the command on the other host.

    Only the one stream is opened: no terminal and no forwarding, even if the user's configuration has them for logins.
    """
    from shlex import join

    options = ["-T", "-a", "-x", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none"]
    options += ["-p", str(remote.port)] if remote.port else []
    options += ["-l", remote.user] if remote.user else []
    command = [*there, *(["--name", remote.name] if remote.name else []), "dial-stdio"]
    return [*ssh, *options, "--", remote.host, join(command)]


class RemoteOutput:
    """What the other end has written so far: the instance's messages, and what has become of the instance."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.connected: dict[str, Any] | None = None
        self.refused: ControlError | None = None
        self.ended: str | None = None
        self.silent = False
        self.gone = False
        self._lines = Lines()

    def feed(self, data: bytes) -> None:
        """Take bytes."""
        for message in self._lines.feed(data):
            if self.connected is None:
                # What a login shell printed before may lack its newline.
                message = message[max(0, message.find(_MARK)) :]
            if message.startswith(_MARK):
                self._note(message)
            elif self.connected is not None:
                self.messages.append(message)

    @property
    def sees_process(self) -> bool:
        """Whether the other end can see the process end."""
        return bool((self.connected or {}).get("sees_process"))

    @property
    def pid(self) -> int | None:
        """The instance's pid on its host."""
        pid = (self.connected or {}).get("pid")
        return pid if isinstance(pid, int) else None

    def is_over(self, *, process_exits: bool) -> bool:
        """Tell whether the instance has gone; `process_exits`: its process ends with it."""
        return self.gone or (self.silent and not (process_exits and self.sees_process))

    def _note(self, message: bytes) -> None:
        try:
            event = json.loads(message)["params"]["event"]
            word = event["event"]
        except (ValueError, RecursionError, KeyError, TypeError):
            return
        if word == "connected":
            self.connected = event
        elif word == "refused":
            self.refused = _refusal(event)
        elif word == "ended":
            self.ended = str(event.get("detail") or "")
        elif word == "silent":
            self.silent = True
        elif word == "gone":
            self.silent = self.gone = True


def line(word: str, **fields: Any) -> bytes:
    """Make a line that the other end writes."""
    return _MARK + json.dumps({"event": {"event": word, **fields}}).encode() + b"}\n"


def _refusal(event: dict[str, Any]) -> ControlError:
    kind = BY_NAME.get(str(event.get("name")), Failed)
    return kind(str(event.get("message") or "no reason was given"), hint=str(event.get("hint") or ""))
