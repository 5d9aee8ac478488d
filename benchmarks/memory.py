"""Memory of `flaskd run` with a Flask hello, on either engine, against the peers with the same application.

Proportional set size after a few requests, for information: what control plane and ledger cost in one
process.
"""

import contextlib
import urllib.request

from benchmarks import procfs
from benchmarks.contenders import FLASKD, GRANIAN, GUNICORN, OURS, WERKZEUG, Running, serving
from benchmarks.side_by_side import Figure, main, ratio

APP = "benchmarks.hello:app"


def measure(quick: bool) -> list[Figure]:
    """Weigh all of them while all are running, so that each shares its libraries with the same others."""
    peers = [WERKZEUG] if quick else [each for each in (WERKZEUG, GUNICORN, GRANIAN) if each.installed]
    ours = [each for each in ((FLASKD,) if quick else OURS) if each.installed]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(each, APP)) for each in (*ours, *peers)]
        for server in servers:
            _use(server)
        weight = {server.contender: procfs.pss_kib(server.pids) / 1024 for server in servers}
    return [
        ratio(
            f"memory (PSS), {own.name}",
            ours=[weight[own]],
            theirs=[weight[peer]],
            against=peer.name,
            goal=None,
            unit="MiB",
        )
        for own in ours
        for peer in peers
    ]


def _use(server: Running) -> None:
    for _ in range(20):
        with urllib.request.urlopen(f"{server.url}/", timeout=30) as answer:
            answer.read()


if __name__ == "__main__":
    main(measure)
