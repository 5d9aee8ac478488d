"""The command that shows the code that runs."""

import platform
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flaskd.control.aside import Aside
from flaskd.control.handlers.tasks import carry_out_if_any, heard
from flaskd.control.registry import Call
from flaskd.ledger.row import printable
from flaskd.operable import Operable
from flaskd.tasks import CodeDescribed, DescribeCode, Outcome
from flaskd.tuning.shown import shown
from flaskd.version import __version__
from flaskd_ctl.protocol import InfoResult, LoadedCode, Release

REPLY_TIME: Final = 5.0
"""Seconds that a process has to describe its code; git may take 2 of them."""

LOOK_TIME: Final = 2.0
"""Seconds that looking at the code on disk may take."""

MOST_DIFFERENT: Final = 8
"""Different codes that are listed; each may have 500 packages."""


class Code:
    """Handles `info`."""

    def __init__(self, instance: Operable) -> None:
        self._instance = instance
        self._looking: Aside[Any] = Aside()

    async def info(self, call: Call[Any]) -> InfoResult:
        """Describe the code of each process, and what is on disk now."""
        now, error = None, ""
        try:
            now = await self._looking.run(self._instance.code_on_disk, seconds=LOOK_TIME)
        except TimeoutError:
            error = f"the code on disk could not be looked at within {LOOK_TIME:g} s"
        except (OSError, ValueError) as failure:
            error = printable(str(failure))
        outcomes = await carry_out_if_any(self._instance, DescribeCode(), timeout=REPLY_TIME)
        groups = _grouped(outcomes)
        status = self._instance.status()
        return InfoResult(
            name=status.name,
            app=str(shown("app", status.app)),
            flaskd=__version__,
            platform=platform.platform(),
            loaded=[_loaded(code, workers, now) for code, workers in groups[:MOST_DIFFERENT]],
            on_disk=_release(now, dirty=_dirty(now.directory, groups))
            if now is not None and now.directory
            else None,
            on_disk_error=error,
            workers=[each for each in heard(outcomes) if each.error],
        )


_Group = tuple[CodeDescribed, list[int]]


def _grouped(outcomes: Sequence[Outcome]) -> list[_Group]:
    """Put together the processes that have loaded the same, the newest first."""
    groups: list[_Group] = []
    for outcome in reversed(outcomes):
        reply = outcome.reply
        if not isinstance(reply, CodeDescribed):
            continue
        loaded = msgspec.structs.replace(reply, number=0, dirty=None)
        for code, workers in groups:
            if loaded == msgspec.structs.replace(code, number=0, dirty=None):
                workers.insert(0, outcome.worker)
                break
        else:
            groups.append((reply, [outcome.worker]))
    return groups


def _loaded(code: CodeDescribed, workers: list[int], now: Any) -> LoadedCode:
    """Describe the code of some processes; `now` is what is on disk, None if that is not known."""
    was = printable(code.directory), printable(code.commit), code.modified
    release = Release(*was[:2], printable(code.branch), code.modified, code.dirty)
    return LoadedCode(
        workers=workers,
        python=printable(code.python),
        executable=printable(code.executable),
        release=release,
        packages=_printable(code.packages),
        more=max(0, code.more),
        changed=_printable(code.changed),
        newer=now is not None and bool(now.directory) and was != _identity(now),
    )


def _identity(now: Any) -> tuple[str, str, float | None]:
    found = _release(now)
    return found.directory, found.commit, found.modified


def _release(code: Any, *, dirty: bool | None = None) -> Release:
    directory = code.directory.encode("utf-8", "backslashreplace").decode()
    return Release(
        printable(directory), code.revision.commit, printable(code.revision.branch), code.modified, dirty
    )


def _dirty(directory: str, groups: Sequence[_Group]) -> bool | None:
    """Tell whether the code in a directory has changes, as a process said that has loaded it from there."""
    return next((code.dirty for code, _ in groups if code.directory == directory), None)


def _printable(found: dict[str, str]) -> dict[str, str]:
    return {printable(name): printable(version) for name, version in found.items()}
