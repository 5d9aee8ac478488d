"""What threads do, as text for people: what the application does comes first, and what waits comes last, in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flaskd_ctl.contract.times import count, span
from flaskd_ctl.text.diagnosis import failures
from flaskd_ctl.text.layout import printable
from flaskd_ctl.text.requests import requests_table

MOST_NAMES: Final = 8
"""Names of threads in a line."""


def _stacks(result: dict[str, Any], _colour: bool) -> str:
    workers = result.get("workers") or []
    parts = [_worker(one) for one in workers if not one.get("error")]
    return "\n\n".join([*parts, *failures(workers)]) or "no worker"


def _requests(result: dict[str, Any], _colour: bool) -> str:
    requests = result.get("requests") or []
    such = "such " if result.get("narrowed") else ""  # else one takes a misspelt filter for an idle instance
    lines = [requests_table(requests) or f"no {such}request in flight"]
    if left_out := result.get("left_out"):
        lines.append(
            f"and {count(left_out, 'newer request')}: narrow it down with --worker, --path or --endpoint"
        )
    workers = result.get("stacks") or []
    lines += [f"\n{_worker(one)}" for one in workers if not one.get("error")]
    return "\n".join([*lines, *failures(workers)])


def _worker(one: dict[str, Any]) -> str:
    stacks = one.get("stacks") or []
    threads = sum(len(each.get("threads") or []) for each in stacks) + int(one.get("left_out") or 0)
    who = f"worker {one['worker']}" if one.get("worker") else "the process"
    lines = [f"{who} (pid {one.get('pid')}): {count(threads, 'thread')}"]
    if one.get("note"):
        lines.append(f"  ({one['note']})")
    servers = [each for each in stacks if each.get("kind") == "server"]
    for each in stacks:
        lines += ["", *_stack(each)] if each.get("kind") != "server" else []
    lines += ["", "  flaskd's own:", *map(_server, servers)] if servers else []
    if one.get("left_out"):
        lines += ["", f"  {count(one['left_out'], 'thread')} left out: the reply would be too long"]
    return "\n".join(map(printable, lines))  # also a line end within a name


def _server(stack: dict[str, Any]) -> str:
    frames = stack.get("frames") or []
    return f"    {_names(stack.get('threads') or [])}{f': {_call(frames[0])}' if frames else ''}"


def _stack(stack: dict[str, Any]) -> list[str]:
    threads, frames = stack.get("threads") or [], stack.get("frames") or []
    of_request = stack.get("kind") == "request"
    if of_request:
        lines = [f"  {_request(each)}" for each in threads]
        lines += [f"  {len(threads)} threads at the same place:"] if len(threads) > 1 else []
    else:
        lines = [f"  the application's own: {_names(threads)}"]
    shown = frames[: len(frames) - int(stack.get("server_frames") or 0)] or frames
    for frame in shown:
        lines.append(f"    {_call(frame)}")
        lines += [f"      {frame['source']}"] if frame.get("source") else []
    around = len(frames) - len(shown)
    if missing := int(stack.get("missing") or 0):
        lines.append(f"    … {f'{missing} ' if missing > 1 else ''}older calls")
    elif around:
        lines.append(
            f"    … {count(around, 'call')} {'of the server' if of_request else 'that started the thread'}"
        )
    if not frames:
        lines.append("    no Python code")
    return lines


def _request(thread: dict[str, Any]) -> str:
    one = thread.get("request") or {}
    served_by = str(thread.get("name") or one.get("thread"))
    served_by = served_by if served_by.startswith("thread ") else f"thread {served_by}"
    endpoint = f", endpoint {one['endpoint']}" if one.get("endpoint") else ""
    return (
        f"{one.get('method')} {one.get('path')}: {span(float(one.get('age') or 0.0))}{endpoint}, "
        f"request {one.get('id')} ({one.get('request_id')}), {served_by}"
    )


def _call(frame: dict[str, Any]) -> str:
    return f"{frame.get('function')} at {frame.get('file')}:{frame.get('line')}"


def _names(threads: list[dict[str, Any]]) -> str:
    names = [str(each.get("name") or f"thread {int(each.get('id') or 0):#018x}") for each in threads]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    how_many = f"{len(names)} threads " if len(names) > 1 else ""
    return f"{how_many}{', '.join(names[:MOST_NAMES])}{more}"


WRITERS: Final[dict[str, Callable[[dict[str, Any], bool], str]]] = {"requests": _requests, "stacks": _stacks}
"""What writes the result of each command."""
