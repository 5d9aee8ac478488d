"""Making CURVE keys, for `flaskd keygen`: a pair of files that pyzmq's zmq.auth and czmq read too."""

import contextlib
import os
import time
from typing import Final, NamedTuple

import zmq

from flaskd.errors import ConfigError
from flaskd_ctl.contract.endpoint import NAME

PUBLIC_ENDING: Final = ".key"
SECRET_ENDING: Final = ".key_secret"  # noqa: S105 - of a file name


class KeyFiles(NamedTuple):
    """Where the two halves of a pair are."""

    public: str
    secret: str


def make_pair(name: str, directory: str, *, force: bool) -> KeyFiles:
    """Make a pair of keys called `name` in `directory`, which is made too; the secret file is its owner's alone from the start.

    Raises ConfigError: a name that cannot name a key, a pair that is there already (without `force`), no permission, a libzmq
    without CURVE.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a key: a name is 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit"
        )
    check_curve()
    base = os.path.join(directory, name)
    files = KeyFiles(base + PUBLIC_ENDING, base + SECRET_ENDING)
    there = next((path for path in files if os.path.lexists(path)), None)
    if there and not force:
        raise ConfigError(
            f"{there} is there already, nothing was changed",
            hint="choose another name, or --force: who uses the old key is then locked out",
        )
    public, secret = zmq.curve_keypair()
    made = f"made by flaskd keygen, {time.strftime('%Y-%m-%d')}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with contextlib.ExitStack() as new:
            written = KeyFiles(*(f"{path}.{os.getpid()}" for path in files))
            for path in written:
                new.callback(_remove, path)
            keep, give = "Keep it where it is.", "Give it to the other side."
            _write(written.secret, 0o600, f"# {name}: CURVE secret key, {made}. {keep}", public, secret)
            _write(written.public, 0o644, f"# {name}: CURVE public key, {made}. {give}", public)
            # Both are there in full before an old one goes; a pair that somebody else makes at the same time stays.
            put = os.replace if force else os.link
            put(written.secret, files.secret)
            put(written.public, files.public)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"cannot write {error.filename or directory}: {reason}", hint="choose another --directory"
        ) from None
    return files


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def check_curve() -> None:
    """Raise ConfigError where this libzmq was built without CURVE."""
    if not zmq.has("curve"):
        raise ConfigError(
            "this machine's libzmq has no CURVE", hint="install pyzmq's own wheels: pip install pyzmq"
        )


def _write(path: str, mode: int, comment: str, public: bytes, secret: bytes | None = None) -> None:
    """Write a file that is new, with its mode from the first byte on."""
    lines = [comment, "metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, mode)  # whatever the umask: a public key has to be readable
        file.write("\n".join(lines) + "\n")
