"""Authorized keys: the public CURVE keys in a directory, each under the name that its owner has here.

libzmq does the cryptography and asks us about each key by ZAP (ZeroMQ RFC 27): on a REP socket at a fixed inproc address. Our
reply contains the key as "User-Id", which libzmq attaches to each message of that connection. So we check each message again:
a key that has been removed from the directory is refused with its next message, although the connection stays open.

We do not use pyzmq's authenticator: it answers from a task, and after a failure in it no later handshake gets an answer.
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
from flaskd_ctl.protocol import Actor

SUFFIX: Final = ".key"
ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
ZAP_DOMAIN: Final = b"flaskd"

log = logging.getLogger("flaskd.control")


class AuthorizedKeys:
    """The keys in a directory: files NAME.key with a public key each. The directory is read again for each question.

    The directory and each file count only while they belong to us or root and nobody else can write to them.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.path.abspath(directory)
        self._names: dict[bytes, str] = {}  # where each key was last found
        self._logged = ""  # the problem with the directory that was logged
        self._writable: set[str] = set()  # keys whose files others can change, which was logged

    def check(self) -> None:
        """Raise ConfigError if the directory cannot be used or contains a wrong file."""
        if problem := self._problem():
            raise ConfigError(
                problem, hint="the directory of authorized keys must be writable for nobody but you or root"
            )
        seen: dict[bytes, str] = {}
        for path in map(self._path, self._listed()):
            try:
                public = read_public(path)
            except errors.BadKey as error:
                raise ConfigError(
                    f"--authorized-keys: {error}", hint="the directory may contain only public keys"
                ) from None
            if _others_write(os.stat(path)):
                raise ConfigError(f"others can change {path}", hint=f"chmod 644 {path}")
            if public in seen:
                raise ConfigError(
                    f"{path} holds the same key as {seen[public]}", hint="remove one: a key has one name"
                )
            seen[public] = path

    def name_of(self, public: bytes) -> str | None:
        """Return the name of a key (in Z85), None if it is not authorized now."""
        problem = self._problem()
        if problem != self._logged:  # log it once: anybody can make us check
            self._logged = problem
            text = f"no key is authorized: {problem}" if problem else "keys are authorized again"
            log.error("flaskd: %s", text)
        if problem:
            return None
        name = self._names.pop(public, "")
        if not name or not self._holds(name, public):
            name = next((each for each in self._listed() if self._holds(each, public)), "")
        if name:
            self._names[public] = name
        return name or None

    def caller(self, public: str) -> Actor:
        """Return the sender of a message, given its "User-Id". Raises NotPermitted if the key is no longer authorized."""
        name = self.name_of(public.encode("utf-8", "replace"))
        if name is None:
            raise errors.NotPermitted(
                "the key that you use is no longer authorized",
                hint="ask the operator of the instance to add your public key to the authorized keys again",
            )
        return Actor(via="control", key=name)

    def _problem(self) -> str:
        try:
            found = os.stat(self._directory)
        except OSError as error:
            return f"cannot open {self._directory}: {(error.strerror or str(error)).lower()}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{self._directory} is not a directory"
        if _others_write(found):
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            return f"others can write to {self._directory} (uid {found.st_uid}, mode {mode})"
        return ""

    def _listed(self) -> list[str]:
        with contextlib.suppress(OSError):
            names = [
                name.removesuffix(SUFFIX) for name in os.listdir(self._directory) if name.endswith(SUFFIX)
            ]
            return sorted(filter(NAME.fullmatch, names))
        return []

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name + SUFFIX)

    def _holds(self, name: str, public: bytes) -> bool:
        try:
            if _others_write(os.stat(self._path(name))):
                if name not in self._writable:
                    self._writable.add(name)
                    log.error("flaskd: the key %s is not authorized: others can change its file", name)
                return False
            self._writable.discard(name)
            return read_public(self._path(name)) == public
        except (OSError, errors.BadKey):  # it was removed, or is being written
            return False


class ZapHandler:
    """Answers libzmq's questions about keys, for the sockets of one context, on the running loop."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", authorized: AuthorizedKeys) -> None:
        self._authorized = authorized
        self._loop = asyncio.get_running_loop()
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ZAP_ADDRESS)
        self._loop.add_reader(self._socket.FD, self._answer_all)

    def close(self) -> None:
        """Stop answering: handshakes that are not done by now fail."""
        self._loop.remove_reader(self._socket.FD)
        self._socket.close()

    def _answer_all(self) -> None:
        """Answer all questions that have come: the descriptor becomes readable once, for the first (zmq_getsockopt(3))."""
        with contextlib.suppress(zmq.Again):
            while True:
                question = self._socket.recv_multipart(zmq.NOBLOCK)
                try:
                    answer = self._answer(question)
                except (
                    Exception
                ):  # the callback's outer edge: libzmq waits for this answer before it asks again
                    log.exception("checking a key failed")
                    answer = [*question[:2], b"500", b"failed", b"", b""]
                self._socket.send_multipart(answer, zmq.NOBLOCK)

    def _answer(self, question: list[bytes]) -> list[bytes]:
        version, request_id, domain, _address, _identity, mechanism, *credentials = question
        if (
            (mechanism, domain) == (b"CURVE", ZAP_DOMAIN)
            and [len(key) for key in credentials] == [KEY_LENGTH]
            and self._authorized.name_of(public := z85.encode(credentials[0])) is not None
        ):
            return [version, request_id, b"200", b"OK", public, b""]
        return [version, request_id, b"400", b"not authorized", b"", b""]


def options(secret: bytes) -> list[tuple[int, Any]]:
    """Return the socket options of a CURVE server that checks its clients' keys; without a ZAP handler it accepts none."""
    return [
        (zmq.CURVE_SERVER, 1),
        (zmq.CURVE_SECRETKEY, secret),
        (zmq.ZAP_DOMAIN, ZAP_DOMAIN),
        (zmq.ZAP_ENFORCE_DOMAIN, 1),
    ]


def _others_write(found: os.stat_result) -> bool:
    return found.st_uid not in {os.geteuid(), 0} or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
