"""CURVE keys in files: pyzmq's certificates (zmq.auth), a public file `NAME.key` and a secret file `NAME.key_secret`.

Keys are written in Z85, 40 characters each (ZeroMQ RFC 32). A secret file holds both halves of the pair.
"""

import os
import stat
import struct
from typing import Final, NamedTuple

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from flaskd_ctl.errors import BadKey

KEY_LENGTH: Final = 32
"""Bytes of a key."""

OTHERS: Final = stat.S_IWGRP | stat.S_IRWXO
"""Permission bits that a secret file must not have. A group may read it: that is how containers get secrets."""


class Pair(NamedTuple):
    """Both halves of a key, in Z85."""

    public: bytes
    secret: bytes


def read_pair(path: str) -> Pair:
    """Read a secret file; raise BadKey if it is not one, or if others may read it."""
    public, secret = _read(path)
    if secret is None:
        raise BadKey(
            f"{path} holds a public key, no secret one", hint="name the file that ends in .key_secret"
        )
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & OTHERS:
        raise BadKey(
            f"others may use the secret key in {path} (its mode is {mode:04o})", hint=f"chmod 600 {path}"
        )
    if zmq.curve_public(secret) != public:
        raise BadKey(
            f"the public and the secret key in {path} are not a pair", hint="make a new one: flaskd keygen"
        )
    return Pair(public, secret)


def read_public(path: str) -> bytes:
    """Read the public key in a file, in Z85; raise BadKey if there is none. A secret file is refused: it must not be copied."""
    public, secret = _read(path)
    if secret is not None:
        raise BadKey(
            f"{path} holds a secret key, which is for its owner alone",
            hint="give the public file, the one that ends in .key",
        )
    return public


def _read(path: str) -> tuple[bytes, bytes | None]:
    try:
        with open(path, "rb"):  # load_certificate reports any file that it cannot open as missing
            public, secret = load_certificate(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadKey(f"cannot read the key {path}: {why}", hint="`flaskd keygen` makes keys") from None
    except ValueError:
        raise BadKey(f"{path} holds no CURVE key", hint="`flaskd keygen` makes keys") from None
    for half in (public, secret):
        if half is not None and not _is_key(half):
            raise BadKey(
                f"the key in {path} is damaged: a key is 40 characters of Z85",
                hint="copy it again, or make a new one",
            )
    return public, secret


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == 40 and len(z85.decode(text)) == KEY_LENGTH
    except (KeyError, struct.error):  # not in the alphabet, or a number too large
        return False
