"""The pages whose tables and plots are drawn from docs/benchmarks/findings.json, where each benchmark's findings are noted.

What stands between `<!-- drawn: NAME -->` and `<!-- end -->` on the page is drawn, the rest is written by hand.
"""

import functools
import importlib.metadata
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from benchmarks.contenders import ALL, OURS, in_order
from benchmarks.findings import Figure, Findings, Rounds

PAGES: Final = ("benchmarks.md", "workers.md")
NOTES: Final = os.path.join("benchmarks", "findings.json")
PEERS: Final = (
    "granian",
    "gunicorn",
    "gunicorn_h1c",
    "uvicorn",
    "a2wsgi",
    "uWSGI",
    "waitress",
    "Werkzeug",
    "Flask",
)
DRAWN: Final = re.compile(r"(?<=<!-- drawn: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
CHANGES: Final = [
    (change, mode) for change in ("stops", "reloads", "autoscale-cycles") for mode in ("closed", "open")
]
COST: Final = {
    "cpu": "CPU seconds for 1,000 requests",
    "throughput-1": "requests/s, 1 worker",
    "throughput-2": "requests/s, 2 workers",
}
LIFE: Final = {
    "start": "start to first response, s",
    "stop": "idle stop, s",
    "reload": "idle reload of 2 workers, s",
    "wake-ups": "wake-ups in 20 idle s",
    "memory": "memory, 1 worker, MiB",
    "memory-worker": "of it the worker",
}


class Plot(NamedTuple):
    """A picture: what it shows, the keys of the rounds that its panels are made of, and what is said below it."""

    shows: str
    keys: tuple[str, ...]
    note: str = ""


PLOTS: Final = {
    "lost": Plot(
        "Share of requests lost",
        ("stops-closed-share", "stops-open-share", "reloads-closed-share", "reloads-open-share"),
    ),
    "cpu": Plot("CPU for 1,000 requests", ("cpu",)),
    "throughput": Plot("Requests a second", ("throughput-1", "throughput-2")),
    "connections": Plot(
        "Requests a second of two workers, by the number of connections",
        ("even-16-kept", "even-64-kept", "even-256-kept", "even-short"),
    ),
    "even": Plot(
        "Requests of the busiest of four workers, divided by the mean",
        ("even-workers",),
        "16 kept connections; 1 is even.",
    ),
    "life": Plot("Start, stop and reload", ("start", "stop", "reload")),
    "memory": Plot("Memory", ("memory", "memory-worker")),
    "preload_memory": Plot(
        "Memory of four preloaded workers", ("preload-memory-large_app", "preload-memory-django_admin")
    ),
    "preload_times": Plot(
        "Replacement of a worker and reload of four, with preload",
        ("preload-replacement", "preload-reload"),
        "The application takes five seconds to load.",
    ),
    "autoscale": Plot(
        "From one worker to four and back",
        ("autoscale-up", "autoscale-down"),
        "The application takes two seconds to load; `--scale-down-after` is one second.",
    ),
}
"""Each plot, by the name of its file. A page shows one where it has `<!-- drawn: plot_NAME -->`."""


class Note(msgspec.Struct, frozen=True):
    """What one benchmark found, when, and on what."""

    at: str
    machine: str
    versions: dict[str, str]
    findings: Findings


Notes = dict[str, Note]


def note(docs: str, name: str, findings: Findings, *, order: Sequence[str]) -> None:
    """Keep the findings of the benchmark `name`, in place of its last ones, among the others in this order."""
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    versions = {each: version for each in PEERS if (version := _version(each))}
    at = time.strftime("%Y-%m-%d", time.gmtime())
    notes = {**read(docs), name: Note(at, machine, versions, _rounded(findings))}
    path = os.path.join(docs, NOTES)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(_readable({each: notes[each] for each in sorted(notes, key=order.index)}))


def draw(docs: str) -> None:
    """Draw the tables on the pages, and the plots beside them."""
    notes = read(docs)
    for page in PAGES:
        path = os.path.join(docs, page)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(drawn(text, notes))
    from benchmarks import plots  # matplotlib is needed for nothing else

    plots.draw(os.path.join(docs, "benchmarks"), _by_key(notes))


def drawn(text: str, notes: Notes) -> str:
    """Return a page with its tables drawn anew, and with the plots of what was measured."""
    rounds = _by_key(notes)
    tables: dict[str, Callable[[], str]] = {
        "machine": lambda: _machine(notes.values()),
        "goals": lambda: _goals([each for note in notes.values() for each in note.findings.figures]),
        "others": lambda: _others([each for note in notes.values() for each in note.findings.figures]),
        "lost": lambda: _lost(rounds),
        "cost": lambda: _side_by_side(rounds, COST),
        "life": lambda: _side_by_side(rounds, LIFE),
    }
    for name in PLOTS:
        tables[f"plot_{name}"] = functools.partial(_image, name, rounds)
    return DRAWN.sub(lambda found: f"{found[1]}{found[2]}\n{tables[found[1]]()}\n\n", text)


def _image(name: str, rounds: Mapping[str, Rounds]) -> str:
    """Show a plot, if anything of it was measured."""
    plot = PLOTS[name]
    if not any(key in rounds for key in plot.keys):
        return ""
    return f"![{plot.shows}](benchmarks/{name}.svg)" + f"\n\n{plot.note}" * bool(plot.note)


def _goals(figures: list[Figure]) -> str:
    """One line for each figure that has a goal; counts of the same thing in both modes of load are added up."""
    rows = [
        [figure.what, figure.against, f"≤ {figure.goal:g}", *_measured(figure), _verdict(figure)]
        for figure in _added_up(figures)
        if figure.goal is not None
    ]
    return _table(["what", "against", "goal", "measured", "range of the rounds", ""], rows)


def _others(figures: list[Figure]) -> str:
    rows = [
        [figure.what, figure.against, *_measured(figure)]
        for figure in figures
        if figure.goal is None and figure.against
    ]
    return _table(["what", "against", "measured", "range of the rounds"], rows)


def _added_up(figures: list[Figure]) -> Iterable[Figure]:
    """Merge `…, closed-loop` and `…, open-loop` into one figure."""
    merged: dict[tuple[str, str], Figure] = {}
    for figure in figures:
        what = re.sub(r", (closed|open)-loop$", ", closed-loop and open-loop", figure.what)
        before = merged.get((what, figure.against))
        value = figure.value if before is None or figure.value is None else figure.value + (before.value or 0)
        merged[what, figure.against] = msgspec.structs.replace(figure, what=what, value=value)
    return merged.values()


def _measured(figure: Figure) -> list[str]:
    if figure.value is None:
        return [figure.detail, ""]
    value = f"{figure.value:.0f}" if figure.exact else f"{figure.value:.2f}"
    return [value, "" if figure.low is None else f"{figure.low:.2f} to {figure.high:.2f}"]


def _verdict(figure: Figure) -> str:
    return "**missed**" if figure.verdict == "missed" else figure.verdict


def _lost(rounds: Mapping[str, Rounds]) -> str:
    rows, measured = [], [(change, mode) for change, mode in CHANGES if f"{change}-{mode}-lost" in rounds]
    for contender in ALL:
        cells = [_lost_in(rounds, f"{change}-{mode}", contender.name) for change, mode in measured]
        if any(cells):
            rows.append([_name(contender.name), *(cell or "-" for cell in cells)])
    return _table(["", *(f"{change}, {mode}-loop" for change, mode in measured)], rows)


def _lost_in(rounds: Mapping[str, Rounds], key: str, name: str) -> str:
    def total(what: str) -> int:
        return int(sum(rounds[f"{key}-{what}"].numbers[name]))

    if f"{key}-lost" not in rounds or name not in rounds[f"{key}-lost"].numbers:
        return ""
    lost, races, refused = total("lost"), total("races"), total("refused")
    told = f"{lost:,} of {lost + total('ok'):,}" + f", {races:,} race{'s' * (races > 1)}" * bool(races)
    told += f", {total('failed')} did not come to an end" * bool(total("failed"))
    if not key.startswith("stops"):
        return told + f", {refused:,} refused" * bool(refused)
    return f"{told}; {max(rounds[f'{key}-took'].numbers[name]):.1f} s"  # nobody listens then: refused is as it should be


def _side_by_side(rounds: Mapping[str, Rounds], columns: Mapping[str, str]) -> str:
    measured = [rounds[key].numbers if key in rounds else {} for key in columns]
    rows = [
        [_name(name), *(_cell(numbers.get(name)) for numbers in measured)]
        for name in in_order({name for numbers in measured for name in numbers})
    ]
    return _table(["", *columns.values()], rows)


def _cell(numbers: list[float] | None) -> str:
    """Show the median, and the range if there is one."""
    if not numbers:
        return "-"
    told, low, high = (_short(each) for each in (statistics.median(numbers), min(numbers), max(numbers)))
    return told if low == high else f"{told} ({low} to {high})"


def _short(number: float) -> str:
    """Two digits, or all of a large number's; zero is a zero."""
    return f"{number:,.0f}" if number >= 10 or not number else f"{number:#.2g}"


def _name(name: str) -> str:
    return f"**{name}**" if name.startswith(tuple(each.name for each in OURS)) else name


def _machine(notes: Iterable[Note]) -> str:
    machines = sorted({f"{each.at}, {each.machine}" for each in notes})
    versions = {name: version for each in notes for name, version in each.versions.items()}
    return (
        f"{'; '.join(machines)}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _by_key(notes: Notes) -> dict[str, Rounds]:
    return {rounds.key: rounds for note in notes.values() for rounds in note.findings.rounds}


def read(docs: str) -> Notes:
    """Read what was noted; nothing where nothing was."""
    try:
        with open(os.path.join(docs, NOTES), "rb") as file:
            return msgspec.json.decode(file.read(), type=Notes)
    except FileNotFoundError:
        return {}


def _readable(notes: Notes) -> bytes:
    """Write JSON of which changes can be read: indented, but each list of numbers on one line."""
    indented = msgspec.json.format(msgspec.json.encode(notes), indent=1)
    return re.sub(rb"\[[-\s\d.,e]+\]", lambda found: b"".join(found[0].split()), indented) + b"\n"


def _rounded(findings: Findings) -> Findings:
    """Cut what is no count to four digits."""

    def cut(number: float) -> float:
        return number if number == int(number) else float(f"{number:.4g}")

    rounds = [
        msgspec.structs.replace(each, numbers={name: [*map(cut, own)] for name, own in each.numbers.items()})
        for each in findings.rounds
    ]
    return msgspec.structs.replace(findings, rounds=rounds)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
