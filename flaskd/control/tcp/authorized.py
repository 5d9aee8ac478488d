"""Who may connect over TCP: those whose public CURVE key lies in the authorized directory, under the name that they have here.

libzmq does the cryptography and asks us about each key, by ZAP (ZeroMQ RFC 27): a REP socket at a fixed inproc address. What
we answer as "User-Id" is the key, and comes with each message of that connection. So each message can be asked about again:
a key that has been taken out of the directory is refused with its next message, although the connection stays.

pyzmq's own authenticator is not used: it answers from a task, and a failure in it leaves every later handshake without answer.
"""

import asyncio
import contextlib
import logging
import os
import stat
from typing import Any, Final

import zmq
from zmq.utils import z85

from flaskd.errors import ConfigError
from flaskd_ctl import errors
from flaskd_ctl.contract.endpoint import NAME
from flaskd_ctl.contract.keys import KEY_LENGTH, read_public
from flaskd_ctl.errors import BadKey
from flaskd_ctl.protocol import Actor

ENDING: Final = ".key"
ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
ZAP_DOMAIN: Final = b"flaskd"

log = logging.getLogger("flaskd.control")


class AuthorizedKeys:
    """The keys in a directory: files NAME.key with a public key each. It is looked at anew for each question.

    It counts only as long as it is ours or root's and nobody else can write to it; so does each file.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.path.abspath(directory)
        self._names: dict[bytes, str] = {}  # where a key was found last
        self._complained = ""
        self._distrusted: set[str] = (
            set()
        )  # keys of which it was said that their files can be changed by others

    def check(self) -> None:
        """Raise ConfigError for a directory that cannot be used, or a file in it that does not belong there."""
        complaint = self._complaint()
        if complaint:
            raise ConfigError(
                complaint, hint="the directory of authorized keys has to be ours or root's alone"
            )
        seen: dict[bytes, str] = {}
        for name in self._listed():
            path = self._path(name)
            try:
                public = read_public(path)
            except BadKey as error:
                raise ConfigError(
                    f"--authorized-keys: {error}", hint="only public keys belong there"
                ) from None
            if _others_write(os.stat(path)):
                raise ConfigError(f"{path} can be changed by others", hint=f"chmod 644 {path}")
            if public in seen:
                raise ConfigError(
                    f"{path} holds the same key as {seen[public]}", hint="remove one: a key has one name"
                )
            seen[public] = path

    def name_of(self, public: bytes) -> str | None:
        """Return the name of a key (in Z85), None where it is not authorized now."""
        complaint = self._complaint()
        if complaint != self._complained:  # said once: strangers can make us ask
            self._complained = complaint
            what = f"no key is authorized: {complaint}" if complaint else "keys are authorized again"
            log.error("flaskd: %s", what)
        if complaint:
            return None
        known = self._names.get(public)
        if known is not None and self._holds(known, public):
            return known
        self._names.pop(public, None)
        for name in self._listed():
            if self._holds(name, public):
                self._names[public] = name
                return name
        return None

    def caller(self, public: str) -> Actor:
        """Return who sent a message, given its "User-Id"; raise NotPermitted where that key is not authorized any more."""
        name = self.name_of(public.encode("utf-8", "replace"))
        if name is None:
            raise errors.NotPermitted(
                "the key that you use is not authorized any more",
                hint="ask who runs the instance to put its public part back into the authorized keys",
            )
        return Actor(via="control", key=name)

    def _complaint(self) -> str:
        try:
            there = os.stat(self._directory)
        except OSError as error:
            return f"cannot look into {self._directory}: {(error.strerror or str(error)).lower()}"
        if not stat.S_ISDIR(there.st_mode):
            return f"{self._directory} is not a directory"
        if _others_write(there):
            return f"{self._directory} can be written to by others (uid {there.st_uid}, mode {there.st_mode & 0o7777:04o})"
        return ""

    def _listed(self) -> list[str]:
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            names = [entry.name.removesuffix(ENDING) for entry in entries if entry.name.endswith(ENDING)]
            return sorted(filter(NAME.fullmatch, names))
        return []

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name + ENDING)

    def _holds(self, name: str, public: bytes) -> bool:
        try:
            if _others_write(os.stat(self._path(name))):
                if name not in self._distrusted:
                    self._distrusted.add(name)
                    log.error("flaskd: the key %s is not authorized: others can change its file", name)
                return False
            self._distrusted.discard(name)
            return read_public(self._path(name)) == public
        except (OSError, BadKey):  # gone, or being written
            return False


class ZapHandler:
    """Answers libzmq's questions about keys, for the sockets of one context, on the running loop."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", authorized: AuthorizedKeys) -> None:
        self._authorized = authorized
        self._loop = asyncio.get_running_loop()
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ZAP_ADDRESS)
        self._loop.add_reader(self._socket.FD, self._look)

    def close(self) -> None:
        """Answer no more: who has not been let in by now is not."""
        self._loop.remove_reader(self._socket.FD)
        self._socket.close()

    def _look(self) -> None:
        """Answer all that has come: the descriptor tells once, when there was nothing before (zmq_getsockopt(3), ZMQ_FD)."""
        while True:
            try:
                question = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                answer = self._answer(question)
            except Exception:  # the callback's outer edge: a question without an answer would be the last one
                log.exception("a key could not be looked at")
                answer = [*question[:2], b"500", b"failed", b"", b""]
            self._socket.send_multipart(answer, zmq.NOBLOCK)

    def _answer(self, question: list[bytes]) -> list[bytes]:
        version, request_id, domain, _address, _identity, mechanism, *credentials = question
        public = b""
        if (
            mechanism == b"CURVE"
            and domain == ZAP_DOMAIN
            and [len(key) for key in credentials] == [KEY_LENGTH]
        ):
            public = z85.encode(credentials[0])
        if not public or self._authorized.name_of(public) is None:
            return [version, request_id, b"400", b"not authorized", b"", b""]
        return [version, request_id, b"200", b"OK", public, b""]


def options(secret: bytes) -> list[tuple[int, Any]]:
    """List the socket options of a CURVE server whose clients are asked about; without a ZAP answer nobody is let in."""
    return [
        (zmq.CURVE_SERVER, 1),
        (zmq.CURVE_SECRETKEY, secret),
        (zmq.ZAP_DOMAIN, ZAP_DOMAIN),
        (zmq.ZAP_ENFORCE_DOMAIN, 1),
    ]


def _others_write(there: os.stat_result) -> bool:
    return there.st_uid not in {os.geteuid(), 0} or bool(there.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
