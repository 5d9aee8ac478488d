"""Profiles in the formats of other programs, and as text for people. They take results as plain dicts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from flaskd_ctl.contract.times import count, span
from flaskd_ctl.text.diagnosis import failures
from flaskd_ctl.text.layout import printable, table

MOST_ROWS: Final = 20
"""Functions in the text."""

SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
OTHER: Final = "(stacks too rare for the reply)"


def speedscope(result: dict[str, Any]) -> str:
    """Write a profile as a JSON file of speedscope, which has a profile for each worker; the unit is seconds of a thread."""
    frames: dict[tuple[str, str, int], int] = {}

    def index(function: str, file: str, line: int) -> int:
        return frames.setdefault((function, file, line), len(frames))

    profiles = []
    for worker in _profiled(result):
        samples = int(worker.get("samples") or 0)
        each = float(worker.get("seconds") or 0.0) / samples if samples else 0.0
        seen = [([index(*function) for function in stack], number) for stack, number in _stacks(worker)]
        profiles.append(
            {
                "type": "sampled",
                "name": _who(worker),
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(number for _, number in seen) * each,
                "samples": [stack for stack, _ in seen],
                "weights": [number * each for _, number in seen],
            }
        )
    names = [
        {"name": function, **({"file": file, "line": line} if file else {})}
        for function, file, line in frames
    ]
    whole = {
        "$schema": SCHEMA,
        "name": "flaskd",
        "exporter": "flaskd",
        "activeProfileIndex": 0,
        "shared": {"frames": names},
        "profiles": profiles,
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def collapsed(result: dict[str, Any]) -> str:
    """Write a profile as folded stacks, one in a line with its count, as flamegraph.pl and others read them."""
    lines = []
    for worker in _profiled(result):
        for stack, number in _stacks(worker):
            names = [f"{function} ({file}:{line})" if file else function for function, file, line in stack]
            # A semicolon is between two calls, and a line end between two stacks.
            parts = [printable(name).replace(";", ",") for name in (_who(worker), *names)]
            lines.append(f"{';'.join(parts)} {number}")
    return "\n".join(lines)


FORMATS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "speedscope": speedscope,
    "collapsed": collapsed,
}
"""What writes a profile in each format."""


def summary(result: dict[str, Any]) -> str:
    """Write in one line for each worker how much was seen."""
    lines = [_summary(worker) for worker in _profiled(result)]
    return "\n".join(map(printable, [*lines, *failures(result.get("workers") or [])])) or "no worker"


def _profile(result: dict[str, Any], _colour: bool) -> str:
    own: Counter[tuple[str, str, int]] = Counter()
    total: Counter[tuple[str, str, int]] = Counter()
    for worker in _profiled(result):
        for stack, number in _stacks(worker):
            own[stack[-1]] += number
            for function in set(stack):
                total[function] += number
    whole = sum(own.values())
    rows = [
        (f"{100 * number / whole:.1f} %", f"{100 * total[function] / whole:.1f} %", _where(function))
        for function, number in own.most_common(MOST_ROWS)
    ]
    lines = [summary(result)]
    if rows:
        lines += ["", table(rows, head=("OWN", "TOTAL", "FUNCTION"))]
    if (more := len(own) - len(rows)) > 0:
        lines.append(f"and {count(more, 'more function')}: --format speedscope has all")
    return "\n".join(lines)


def _where(function: tuple[str, str, int]) -> str:
    name, file, line = function
    return printable(f"{name} at {file}:{line}" if file else name)


def _summary(worker: dict[str, Any]) -> str:
    samples, seen = int(worker.get("samples") or 0), sum(number for _, number in _stacks(worker))
    took = span(float(worker.get("seconds") or 0.0))
    text = f"{_who(worker)}: {count(samples, 'sample')} in {took}, {seen / samples if samples else 0:.1f} threads each"
    if missed := worker.get("missed"):
        gap = span(float(worker.get("longest_gap") or 0.0))
        text += f"; {missed} missed, the longest gap was {gap}"
    if not seen:
        text += "; no request was seen"
    if other := worker.get("other"):
        text += f"; {other} of what was seen is in stacks too rare for the reply"
    return text


def _profiled(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (worker for worker in result.get("workers") or [] if not worker.get("error"))


def _stacks(worker: dict[str, Any]) -> Iterator[tuple[list[tuple[str, str, int]], int]]:
    """Yield each stack, the oldest call first, and its count."""
    functions = [
        (str(each.get("function")), str(each.get("file")), int(each.get("line") or 0))
        for each in worker.get("functions") or []
    ]
    for stack in worker.get("stacks") or []:
        yield [functions[number] for number in stack["frames"]] or [(OTHER, "", 0)], int(stack["count"])
    if worker.get("other"):
        yield [(OTHER, "", 0)], int(worker["other"])


def _who(worker: dict[str, Any]) -> str:
    return (
        f"worker {worker['worker']} (pid {worker.get('pid')})"
        if worker.get("worker")
        else f"pid {worker.get('pid')}"
    )


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"profile": _profile}
"""What writes the result of the command."""
