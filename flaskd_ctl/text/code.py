"""The code that runs, as text for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import clock
from flaskd_ctl.text.diagnosis import failures
from flaskd_ctl.text.layout import table

SHORT: Final = 10
"""Characters of a commit that are shown."""


def _info(result: dict[str, Any], _colour: bool) -> str:
    rows = [
        (name, str(result.get(name))) for name in ("name", "app", "flaskd", "platform") if result.get(name)
    ]
    loaded = result.get("loaded") or []
    for one in loaded:
        workers = [str(worker) for worker in one.get("workers") or [] if worker]
        who = f" (worker{'s' if len(workers) > 1 else ''} {', '.join(workers)})" if workers else ""
        newer = "; other code is on disk: `reload`, or restart it, to use that" if one.get("newer") else ""
        rows.append(("loaded", f"{_release(one.get('release') or {})}{who}{newer}"))
        rows.append(("", f"Python {one.get('python')}, {one.get('executable')}"))
    if result.get("on_disk"):
        rows.append(("on disk", _release(result["on_disk"])))
    if result.get("on_disk_error"):
        rows.append(("on disk", str(result["on_disk_error"])))
    lines = [table(rows) or "nothing is known"]
    for one in loaded:
        lines += ["", table(_packages(one), head=("PACKAGE", "LOADED", "NOW ON DISK"))]
        if one.get("more"):
            lines.append(f"and {one['more']} more")
    return "\n".join([*lines, *failures(result.get("workers") or [])])


def _packages(one: dict[str, Any]) -> list[tuple[str, str, str]]:
    packages, changed = one.get("packages") or {}, one.get("changed") or {}
    return [
        (
            name,
            str(packages.get(name, "-")),
            (str(changed[name]) or "none") if name in changed else "",
        )
        for name in sorted({*packages, *changed})
    ]


def _release(release: dict[str, Any]) -> str:
    text = str(release.get("directory") or "an unknown directory")
    if commit := str(release.get("commit") or ""):
        branch = f" ({release['branch']})" if release.get("branch") else ""
        dirty = ", with local changes" if release.get("dirty") else ""
        return f"{text}, git {commit[:SHORT]}{branch}{dirty}"
    modified = release.get("modified")
    return text + (f", changed {clock(float(modified))}" if modified is not None else "")


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"info": _info}
"""What writes the result of each command."""
