"""How `flaskd start` has started an instance, for `flaskd_ctl restart`: a file in the state directory.

It holds the whole environment, which may have passwords, so only its owner can read it. It is trusted only if it belongs to the
user who reads it: what it says is run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from flaskd_ctl.contract.endpoint import state_dirs
from flaskd_ctl.contract.files import read_object

SUFFIX: Final = ".start"

LARGEST: Final = 8 << 20
"""Bytes of a record; arguments and environment of a process have 2 MiB by default (execve(2)), and JSON writes more."""


class StartRecord(NamedTuple):
    """How an instance was started: `program` with `words` (those of `flaskd run`), in `directory` with `environ`.

    `place` is the instance's directory, `log` its log file, `pid` its process.
    """

    program: list[str]
    words: list[str]
    pid: int
    directory: str
    environ: dict[str, str]
    umask: int
    place: str
    log: str


def paths(name: str, environ: Mapping[str, str]) -> list[str]:
    """Return where the record of an instance may be; the first is where it is written."""
    return [os.path.join(directory, f"{name}{SUFFIX}") for directory in state_dirs(environ)]


def read_record(name: str, environ: Mapping[str, str], uid: int) -> StartRecord | None:
    """Return the record of the instance `name` that belongs to `uid`, and only they can write; None if there is none."""
    for path in paths(name, environ):
        try:
            there = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISREG(there.st_mode) and there.st_uid == uid and not there.st_mode & 0o077:
            found = _record(read_object(path, largest=LARGEST))
            if found is not None:
                return found
    return None


def _record(read: Mapping[str, Any]) -> StartRecord | None:
    """Make a record of what was read; None if it has another shape."""
    values: dict[str, Any] = {name: read.get(name) for name in StartRecord._fields}
    match values:
        case {
            "program": [_, *_] as program,
            "words": [*words],
            "environ": dict() as environ,
            "umask": int(),
            "pid": int(),
        }:
            texts = [values[name] for name in ("directory", "place", "log")]
            if all(isinstance(text, str) for text in [*texts, *program, *words, *environ, *environ.values()]):
                return StartRecord(**values)
    return None
