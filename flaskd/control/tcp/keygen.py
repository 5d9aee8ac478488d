"""Make CURVE keys for `flaskd keygen`: a pair of files, which pyzmq's zmq.auth and czmq can read too."""

import contextlib
import os
import time
from typing import Final, NamedTuple

import zmq

from flaskd.errors import ConfigError
from flaskd_ctl.contract.endpoint import NAME

PUBLIC_SUFFIX: Final = ".key"
SECRET_SUFFIX: Final = ".key_secret"  # noqa: S105 - a file name


class KeyFiles(NamedTuple):
    """The paths of a pair of keys."""

    public: str
    secret: str


def make_pair(name: str, directory: str, *, force: bool) -> KeyFiles:
    """Make a pair of keys called `name` in `directory`, which is created if missing. Only you can read the secret file.

    Raises ConfigError for an invalid name, a pair that exists (without `force`), no permission, or a libzmq without CURVE.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name a key: use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit"
        )
    check_curve()
    base = os.path.join(directory, name)
    files = KeyFiles(base + PUBLIC_SUFFIX, base + SECRET_SUFFIX)
    there = next((path for path in files if os.path.lexists(path)), None)
    if there and not force:
        raise ConfigError(
            f"{there} exists; nothing was changed",
            hint="choose another name, or use --force, which locks out users of the old key",
        )
    public, secret = zmq.curve_keypair()
    made = f"made by flaskd keygen, {time.strftime('%Y-%m-%d')}"
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with contextlib.ExitStack() as new:
            written = KeyFiles(*(f"{path}.{os.getpid()}" for path in files))
            for path in written:
                new.callback(_remove, path)
            keep, give = "Keep it secret.", "Give it to the other side."
            _write(written.secret, 0o600, f"# {name}: CURVE secret key, {made}. {keep}", public, secret)
            _write(written.public, 0o644, f"# {name}: CURVE public key, {made}. {give}", public)
            # Both are complete before an old one is replaced; without force, a pair made at the same time stays.
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
    """Raise ConfigError if libzmq was built without CURVE."""
    if not zmq.has("curve"):
        raise ConfigError(
            "libzmq on this machine has no CURVE", hint="install the wheel of pyzmq: pip install pyzmq"
        )


def _write(path: str, mode: int, comment: str, public: bytes, secret: bytes | None = None) -> None:
    """Create a file with its final mode, and write it."""
    lines = [comment, "metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, mode)  # the umask must not hide a public key
        file.write("\n".join(lines) + "\n")
