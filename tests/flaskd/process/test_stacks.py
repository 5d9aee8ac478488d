"""Whose a stack is, which stacks are equal, and how much of them fits into a reply."""

import os
import threading

import msgspec
import pytest

from flaskd.process import stacks
from flaskd.process.stacks import FEWEST_FRAMES, ThreadStack, fit, fold, of_requests
from flaskd_ctl.protocol import Frame, InFlight, Stack, ThreadInfo

PYTHON = os.path.dirname(os.__file__)
SITE = "/srv/shop/.venv/lib/python3.13/site-packages"
LEDGER = f"{SITE}/flaskd/ledger/middleware.py"
ENGINE = f"{SITE}/waitress/task.py"
SHOP = "/srv/shop/shop.py"


def frames(*files: str) -> tuple[Frame, ...]:
    return tuple(Frame("f", file, number) for number, file in enumerate(files, 1))


def thread(ident: int, *, age: float | None = None) -> ThreadInfo:
    request = InFlight(ident, "GET", "/", age, "", "", worker=1) if age is not None else None
    return ThreadInfo(ident, f"thread-{ident}", request)


def test_threads_with_equal_stacks_are_one_entry() -> None:
    """The same calls at the same lines; one other line is another stack."""
    here, there = frames(SHOP, ENGINE), (Frame("f", SHOP, 7), Frame("f", ENGINE, 2))

    found = fold(
        [ThreadStack(thread(n, age=1.0), here) for n in range(14)] + [ThreadStack(thread(99), there)]
    )

    assert [(len(each.threads), each.frames) for each in found] == [(14, list(here)), (1, list(there))]


def test_the_application_comes_first() -> None:
    """Requests, the oldest before the others; then its own threads; last what waits in the server."""
    found = fold(
        [
            ThreadStack(thread(1), frames(f"{PYTHON}/queue.py", ENGINE, f"{PYTHON}/threading.py")),
            ThreadStack(thread(2), frames(SHOP)),
            ThreadStack(thread(3, age=1.0), frames(f"{SITE}/flask/app.py", LEDGER)),
            ThreadStack(thread(4, age=9.0), frames(SHOP, LEDGER)),
        ]
    )

    assert [(each.threads[0].id, each.kind) for each in found] == [
        (4, "request"),
        (3, "request"),
        (2, "application"),
        (1, "server"),
    ]


def test_requests_of_one_millisecond_stay_in_the_order_in_which_they_began() -> None:
    """Their ages are equal, to the digit that is sent."""
    here, there = frames(SHOP, LEDGER), frames(f"{SITE}/flask/app.py", LEDGER)

    found = fold([ThreadStack(thread(n, age=1.0), here if n % 2 else there) for n in (4, 3, 2, 1)])

    assert [[one.id for one in each.threads] for each in found] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ((f"{PYTHON}/selectors.py", ENGINE), "server"),
        ((os.path.abspath(stacks.__file__),), "server"),
        (("<frozen runpy>", f"{SITE}/flaskd/worker/main.py"), "server"),
        ((f"{PYTHON}/threading.py",), "application"),
        ((f"{PYTHON}/concurrent/futures/thread.py", f"{PYTHON}/threading.py"), "application"),
        ((f"{SITE}/redis/client.py", f"{PYTHON}/threading.py"), "application"),
        ((f"{PYTHON}/site-packages/redis/client.py",), "application"),
        ((SHOP, ENGINE), "application"),
        (("/srv/flaskd/shop.py",), "application"),
        ((), "application"),
    ],
)
def test_a_thread_without_a_request_is_the_servers_only_if_no_code_of_the_application_runs_in_it(
    files: tuple[str, ...], kind: str
) -> None:
    """What cannot be told is the application's, which is not hidden."""
    assert fold([ThreadStack(thread(1), frames(*files))])[0].kind == kind


def test_the_servers_calls_around_a_request_are_counted() -> None:
    """So that the reader sees the application; the ledger is the innermost of them."""
    served = fold([ThreadStack(thread(1, age=1.0), frames(SHOP, LEDGER, ENGINE, f"{PYTHON}/threading.py"))])
    own = fold([ThreadStack(thread(1), frames(SHOP, threading.__file__, threading.__file__))])

    assert served[0].server_frames == 3
    assert own[0].server_frames == 2


def test_what_does_not_fit_is_counted() -> None:
    """The first stacks are kept; of a stack that does not fit, fewer threads and then fewer calls."""
    several = fold(
        [ThreadStack(thread(n, age=99.0), frames(SHOP)) for n in range(40)]
        + [ThreadStack(thread(100 + n, age=float(n)), frames(*[SHOP] * n)) for n in range(2, 40)]
    )
    whole = len(msgspec.json.encode(several))

    for limit in range(0, whole + 500, 500):
        kept, left_out = fit(several, limit)

        assert len(msgspec.json.encode(kept)) <= max(limit, len(b"[]")) + 1
        assert sum(len(each.threads) for each in kept) + left_out == 78
        for each in kept:
            assert each.missing == 0 or len(each.frames) >= FEWEST_FRAMES // 2
    assert fit(several, whole + 1) == (several, 0)


def test_a_stack_that_is_cut_says_how_many_calls_are_missing() -> None:
    """The newest calls are kept."""
    (deep,) = fold([ThreadStack(thread(1, age=1.0), frames(*[SHOP] * 60, *[LEDGER] * 4), missing=5)])

    (kept,), left_out = fit([deep], len(msgspec.json.encode(deep)) // 3)

    assert left_out == 0
    assert kept.frames == deep.frames[: len(kept.frames)]
    assert kept.missing == 5 + 64 - len(kept.frames)
    assert kept.server_frames == 0


def test_the_stacks_of_some_requests_have_their_threads_only() -> None:
    """Other threads at the same place are left out."""
    (stack,) = fold([ThreadStack(thread(n, age=1.0), frames(SHOP)) for n in (1, 2, 3)])
    idle = Stack(kind="server", threads=[thread(4)], frames=[])

    assert [one.id for each in of_requests([stack, idle], {1, 3, 9}) for one in each.threads] == [1, 3]
