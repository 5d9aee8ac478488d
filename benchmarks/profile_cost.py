"""What a profile costs while it runs: threads of an application, with the sampler of `flaskd_ctl profile` and without.

Sixteen threads serve requests, forty calls deep, and are looked at a hundred times a second. If one of them computes, or
all, the sampler takes the GIL from them: what counts is the CPU time of the same work. If all wait, what counts is the
share of a CPU that the sampler itself uses.

A sampler that needs the GIL has its turn like every other thread: the more threads compute, the fewer looks a second there are.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

from benchmarks.findings import Figure, Findings, Rounds, ratio
from benchmarks.side_by_side import interleave, main
from flaskd.in_process.profile import Sampler
from flaskd.ledger.shared_memory import RequestTable
from flaskd.tasks import ProfileTaken, TakeProfile

THREADS: Final = 16
DEPTH: Final = 40
RATE: Final = 100.0
GOAL: Final = 1.05
WITHOUT, WITH = "without a profile", "with a profile"


class Application:
    """Threads that serve requests until the block is left; some compute, the others wait."""

    def __init__(self, *, computing: int) -> None:
        self.table = RequestTable.create(2 * THREADS)
        self.done = [0] * THREADS
        self._computing = computing
        self._over = threading.Event()
        self._there = threading.Barrier(THREADS + 1)
        self._threads = [threading.Thread(target=self._serve, args=(n,)) for n in range(THREADS)]

    def __enter__(self) -> "Application":
        for thread in self._threads:
            thread.start()
        self._there.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self.table.close()

    def _serve(self, number: int) -> None:
        row = self.table.begin(number + 1, "id", {"REQUEST_METHOD": "GET", "PATH_INFO": f"/{number}"})
        row.route(f"endpoint-{number}", f"/{number}")
        self._descend(number, DEPTH - 4)  # this function, those of threading, and what it ends in
        row.end(1)

    def _descend(self, number: int, left: int) -> None:
        if left:
            self._descend(number, left - 1)
            return
        self._there.wait(60)
        if number >= self._computing:
            self._over.wait(600)
        while not self._over.is_set():
            compute()
            self.done[number] += 1


def compute() -> int:
    """Do some work of an application: calls, a loop, some objects."""
    return len([str(number) for number in range(200)])


@contextlib.contextmanager
def profiling(table: RequestTable, seconds: float) -> Iterator[list[ProfileTaken]]:
    """Profile the threads for so long, as a worker does."""
    sampler = Sampler(table, TakeProfile(profile="benchmark", seconds=seconds, rate=RATE))
    thread = threading.Thread(target=sampler.run, args=(threading.Event(),))
    results: list[ProfileTaken] = []
    thread.start()
    yield results
    thread.join(60)
    results.append(sampler.result())


def measure(quick: bool) -> Findings:
    """Let one thread compute, then all, by turns with a profile and without; then let all wait."""
    seconds, rounds = (0.5, 3) if quick else (2.0, 15)
    figures, tables = [], []
    for computing in (1, THREADS):
        what = f"CPU of the same work, {computing} of {THREADS} threads computing {DEPTH} calls deep"
        numbers, looks = _sides(computing, seconds, rounds)
        told = ratio(what, ours=numbers[WITH], theirs=numbers[WITHOUT], against=WITHOUT, goal=GOAL, unit="µs")
        figures += [
            told,
            Figure(f"looks a second, {computing} computing", f"{RATE:g} asked for", looks, None, ""),
        ]
        tables.append(Rounds(f"profile_cost_{computing}", what, "µs", numbers))
    with Application(computing=0) as idle:
        shares = sorted(_share(idle.table, seconds) for _ in range(rounds))
    what = f"the profiler's share of a CPU in %, {THREADS} threads waiting {DEPTH} calls deep"
    share = Figure(what, "", shares[len(shares) // 2], 5.0, "", low=shares[0], high=shares[-1])
    return Findings([*figures, share], tables)


def _sides(computing: int, seconds: float, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Return the CPU time of a piece of work without a profile and with one, and the looks a second of the profile."""
    samples: list[int] = []
    with Application(computing=computing) as busy:

        def work() -> float:
            begun, used = sum(busy.done), time.process_time()
            time.sleep(seconds)
            return (time.process_time() - used) / (sum(busy.done) - begun) * 1e6

        def profiled() -> float:
            with profiling(busy.table, seconds) as results:
                used = work()
            samples.append(results[0].samples)
            return used

        numbers = interleave({WITHOUT: work, WITH: profiled}, rounds)
    return numbers, sum(samples) / (len(samples) * seconds)


def _share(table: RequestTable, seconds: float) -> float:
    used = time.process_time()
    with profiling(table, seconds):
        pass
    return (time.process_time() - used) / seconds * 100


if __name__ == "__main__":
    main(measure)
