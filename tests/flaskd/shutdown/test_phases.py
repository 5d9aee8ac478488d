"""The steps of a stop: what is ordered when, by the hundred, with a clock moved by hand."""

from hypothesis import given, strategies as st

from flaskd.shutdown.phases import (
    COUNTS_PER_WAIT,
    LONGEST_WAIT,
    RECHECK,
    UNREPORTED_LINGER,
    Action,
    LameDuck,
    Phase,
    Snapshot,
    Step,
    Stop,
    StopTimes,
)

seconds = st.floats(0, 100)


def stop(
    *,
    now: float,
    lame_duck: float,
    unrouted: float = 0.0,
    grace: float,
    linger: float,
    notified: bool = True,
) -> Stop:
    return Stop(StopTimes(grace, linger, LameDuck(lame_duck, unrouted)), now=now, notified=notified)


def advance(stopping: Stop, sight: Snapshot) -> tuple[list[Action], Step]:
    """Step until nothing more can be done at this sight; returns all orders and the last step."""
    orders: list[Action] = []
    while True:
        phase = stopping.phase
        step = stopping.step(sight)
        orders += step.actions
        if stopping.phase is phase and not step.actions:
            return orders, step


def test_an_idle_server_stops_at_once() -> None:
    """With nothing open and nothing queued there is nothing to wait for."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=5)

    orders, _ = advance(stopping, Snapshot(now=0, flushed=True))

    assert orders == [Action.TURN_AWAY, Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS, Action.FLUSH]
    assert stopping.phase is Phase.DONE


def test_the_listener_is_not_closed_while_connections_are_queued() -> None:
    """Who waits in the accept queue is accepted first, however long that takes, up to the deadline."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=0.5)
    orders = []
    for now in range(30):
        new, _ = advance(stopping, Snapshot(now=now, queued=True, in_flight=2, connections=2))
        orders += new
    assert Action.CLOSE_LISTENERS not in orders

    orders, _ = advance(stopping, Snapshot(now=30, queued=True, in_flight=2, connections=2))

    assert orders == [Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS, Action.CUT]


def test_silent_connections_do_not_keep_the_queue_waiting() -> None:
    """While the queue does not move, connections that send nothing are reaped once a linger."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=0.5)
    assert advance(stopping, Snapshot(now=0, queued=True, connections=2))[0] == [Action.TURN_AWAY]
    assert advance(stopping, Snapshot(now=0.4, queued=True, connections=2))[0] == []
    assert advance(stopping, Snapshot(now=0.5, queued=True, connections=2))[0] == [Action.CLOSE_IDLE]
    assert advance(stopping, Snapshot(now=1.0, queued=True, connections=2))[0] == [Action.CLOSE_IDLE]


def test_handshakes_under_way_are_waited_for_up_to_the_linger() -> None:
    """A half-open handshake may complete; one that never does holds nothing up beyond the linger."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=0.5)
    assert advance(stopping, Snapshot(now=0, half_open=True))[0] == [Action.TURN_AWAY]
    assert advance(stopping, Snapshot(now=0.4, half_open=True))[0] == []
    assert advance(stopping, Snapshot(now=0.6, half_open=True))[0] == [
        Action.STOP_ACCEPTING,
        Action.CLOSE_LISTENERS,
        Action.FLUSH,
    ]


def test_a_silent_connection_gets_the_linger_from_when_the_last_request_ended() -> None:
    """The linger counts with nothing in flight: a long request does not eat it up."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=0.5)
    advance(stopping, Snapshot(now=0, in_flight=1, connections=2))
    advance(stopping, Snapshot(now=10, in_flight=1, connections=2))
    orders, step = advance(stopping, Snapshot(now=20, connections=1))
    assert (orders, step.look_again) == ([], 20.5)
    assert advance(stopping, Snapshot(now=20.5, connections=1))[0] == [Action.FLUSH]


def test_a_lame_duck_serves_until_its_time_is_over() -> None:
    """Nothing is turned away while balancers still find out; the grace period starts after it."""
    stopping = stop(now=0, lame_duck=5, grace=10, linger=0.5)
    orders, step = advance(stopping, Snapshot(now=4.9))
    assert (orders, step.look_again) == ([], 5)
    assert stopping.deadline == 15
    assert Action.TURN_AWAY in advance(stopping, Snapshot(now=5))[0]


def leave(stopping: Stop, arrivals: list[float], *, queued: bool = False) -> float:
    """Let requests come at these moments; return when the lame duck's time was over. Looks are as late as they may be."""
    now = 0.0
    while stopping.phase is Phase.LAME_DUCK:
        begun = sum(moment <= now for moment in arrivals)
        _, step = advance(stopping, Snapshot(now=now, begun=begun, queued=queued))
        if stopping.phase is Phase.LAME_DUCK:
            assert step.look_again is not None
            assert step.look_again > now
            now = step.look_again
    return now


def test_who_gets_no_requests_any_more_leaves() -> None:
    """The lame duck is over when balancers have found out, and the grace period begins then."""
    stopping = stop(now=0, lame_duck=60, unrouted=2, grace=10, linger=0.5)

    assert 4.2 <= leave(stopping, [0.5, 2.2]) <= 4.2 + 2 / COUNTS_PER_WAIT

    assert round(stopping.deadline - stopping.lame_until, 6) == 10


def test_connections_that_wait_have_come_too() -> None:
    """Where all threads are busy no request begins, and yet there are new ones."""
    stopping = stop(now=0, lame_duck=60, unrouted=2, grace=10, linger=0.5)

    assert leave(stopping, [], queued=True) == 60


@given(
    st.lists(st.floats(0, 90)),
    st.floats(0.1, 20),
    st.floats(0, 60),
    st.floats(0, 60),
)
def test_nobody_leaves_while_requests_come_nor_stays_much_longer(
    arrivals: list[float], unrouted: float, longest: float, grace: float
) -> None:
    """Requests have ceased for so long, seen a tenth of it late at most, or the lame duck's time is over."""
    stopping = stop(now=0, lame_duck=longest, unrouted=unrouted, grace=grace, linger=0.5)

    left = leave(stopping, arrivals)

    came = max((moment for moment in arrivals if moment <= left), default=0.0)
    late = max(unrouted / COUNTS_PER_WAIT, RECHECK)
    assert left <= longest
    assert left == longest or left >= came + unrouted - 1e-9
    assert all(
        any(earlier <= moment <= earlier + unrouted + late + 1e-9 for moment in [*arrivals, longest])
        for earlier in [0.0, *arrivals]
        if earlier + unrouted + late + 1e-9 < left
    )
    assert stopping.lame_until + grace - 1e-6 <= stopping.deadline <= stopping.lame_until + grace + 1e-6


@given(st.lists(st.tuples(seconds, seconds, seconds)), st.floats(0, 20), seconds)
def test_joining_a_wait_never_prolongs_it(
    later: list[tuple[float, float, float]], unrouted: float, grace: float
) -> None:
    """A second shutdown may make the first look, or look for less; it is never over later for that."""
    alone = stop(now=0, lame_duck=60, unrouted=unrouted, grace=grace, linger=1)
    joined = stop(now=0, lame_duck=60, unrouted=unrouted, grace=grace, linger=1)
    for duck, wait, more in later:
        joined.hasten(StopTimes(more, 1, LameDuck(duck, wait)), now=0)

    assert leave(joined, [1, 2, 3]) <= leave(alone, [1, 2, 3]) + unrouted / COUNTS_PER_WAIT + RECHECK
    assert joined.deadline <= 60 + grace


def test_what_an_order_does_not_say_is_as_it_is_set() -> None:
    """Each number by itself; who waits for requests to cease and sets no bound gets one."""
    assert LameDuck().ordered(None, None) == LameDuck(0, 0)
    assert LameDuck(5, 0).ordered(None, None) == LameDuck(5, 0)
    assert LameDuck(5, 1).ordered(None, 3) == LameDuck(5, 3)
    assert LameDuck(5, 1).ordered(7, None) == LameDuck(7, 1)
    assert LameDuck(5, 1).ordered(None, 0) == LameDuck(5, 0)
    assert LameDuck(5, 1).ordered(0, None).longest == 0
    assert LameDuck(0, 1).ordered(None, None) == LameDuck(LONGEST_WAIT, 1)
    assert LameDuck().ordered(None, 2) == LameDuck(LONGEST_WAIT, 2)
    assert LameDuck().ordered(None, 45) == LameDuck(45, 45)


def test_grace_0_cuts_without_waiting() -> None:
    """The operator asked for no grace: nothing is waited for, and it ends in one go."""
    stopping = stop(now=0, lame_duck=0, grace=0, linger=5)

    orders, _ = advance(stopping, Snapshot(now=0, in_flight=3, connections=4, queued=True, half_open=True))

    assert orders == [Action.TURN_AWAY, Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS, Action.CUT]


def test_an_engine_that_tells_nothing_is_looked_at_again_and_again() -> None:
    """Nobody says when a connection ends; while it is a lame duck, there is nothing to look for."""
    stopping = stop(now=0, lame_duck=5, grace=30, linger=0.5, notified=False)
    assert advance(stopping, Snapshot(now=0, in_flight=1, connections=1))[1].look_again == 5
    for now, sight in [
        (5.0, Snapshot(now=5, queued=True)),
        (6.0, Snapshot(now=6, in_flight=1, connections=1)),
    ]:
        step = advance(stopping, sight)[1]
        assert step.look_again == now + RECHECK
    advance(stopping, Snapshot(now=7, connections=1))
    assert advance(stopping, Snapshot(now=7.6, connections=1))[0] == [Action.FLUSH]
    assert advance(stopping, Snapshot(now=7.7, connections=1))[1].look_again == 7.7 + RECHECK


def test_an_engine_that_tells_nothing_lingers_a_moment_at_least() -> None:
    """A request that it has read may not have begun in the application; with nothing open there is none."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=0, notified=False)
    assert advance(stopping, Snapshot(now=0, connections=1))[0] == [
        Action.TURN_AWAY,
        Action.STOP_ACCEPTING,
        Action.CLOSE_LISTENERS,
    ]
    assert advance(stopping, Snapshot(now=UNREPORTED_LINGER / 2, connections=1))[0] == []
    assert advance(stopping, Snapshot(now=UNREPORTED_LINGER, connections=1))[0] == [Action.FLUSH]

    idle = stop(now=0, lame_duck=0, grace=30, linger=0, notified=False)
    assert advance(idle, Snapshot(now=0, flushed=True))[0][-1] is Action.FLUSH


def test_a_request_whose_response_was_sent_may_still_end() -> None:
    """Its connection has gone already; it closes its body, and is counted, before the process ends."""
    stopping = stop(now=0, lame_duck=0, grace=30, linger=5)
    advance(stopping, Snapshot(now=0))

    phases = []
    for sight in (Snapshot(now=1, in_flight=1, flushed=True), Snapshot(now=2, flushed=True)):
        advance(stopping, sight)
        phases.append(stopping.phase)

    assert phases == [Phase.FLUSHING, Phase.DONE]


@given(st.lists(st.tuples(seconds, seconds, seconds)), seconds, seconds)
def test_a_second_shutdown_never_gives_more_time(
    later: list[tuple[float, float, float]], lame_duck: float, grace: float
) -> None:
    """Asking again joins, or brings the deadline nearer; it never extends it."""
    stopping = stop(now=0, lame_duck=lame_duck, grace=grace, linger=1)
    for now, duck, more in sorted(later):
        before = (stopping.deadline, stopping.lame_until)
        stopping.hasten(StopTimes(more, 30, LameDuck(duck)), now=now)
        assert stopping.deadline <= min(before[0], now + duck + more)
        assert stopping.lame_until <= min(before[1], now + duck)


sights = st.builds(
    Snapshot,
    now=st.just(0.0),
    in_flight=st.integers(0, 3),
    connections=st.integers(0, 3),
    half_open=st.booleans(),
    queued=st.booleans(),
    flushed=st.booleans(),
    begun=st.integers(0, 3),
)


@given(
    st.lists(st.tuples(st.floats(0, 2), sights), max_size=40),
    seconds,
    seconds,
    st.floats(0, 5),
    st.booleans(),
    st.floats(0, 20),
)
def test_whatever_is_seen_a_stop_ends_by_its_deadline_and_in_order(
    seen: list[tuple[float, Snapshot]],
    lame_duck: float,
    grace: float,
    linger: float,
    told: bool,
    unrouted: float,
) -> None:
    """TURN_AWAY, DEAFEN, CLOSE, then FLUSH or CUT: each at most once; nothing is cut before the deadline; it is done at it."""
    stopping = stop(now=0, lame_duck=lame_duck, unrouted=unrouted, grace=grace, linger=linger, notified=told)
    now, orders = 0.0, []
    for pause, sight in seen:
        now += pause
        new, step = advance(stopping, Snapshot(now, *(getattr(sight, name) for name in sight._fields[1:])))
        assert Action.CUT not in new or now >= stopping.deadline
        assert stopping.phase is Phase.DONE or step.look_again is not None
        orders += new
    orders += advance(stopping, Snapshot(max(now, stopping.deadline), in_flight=1, connections=1))[0]

    assert stopping.phase is Phase.DONE
    steps = [order for order in orders if order is not Action.CLOSE_IDLE]
    assert steps[:3] == [Action.TURN_AWAY, Action.STOP_ACCEPTING, Action.CLOSE_LISTENERS]
    assert steps[3:] in ([Action.CUT], [Action.FLUSH], [Action.FLUSH, Action.CUT])


@given(st.lists(sights, max_size=30))
def test_nothing_in_flight_is_flushed_away(seen: list[Snapshot]) -> None:
    """While a request is in flight and the deadline has not come, neither FLUSH nor CUT is ordered."""
    stopping = stop(now=0, lame_duck=0, grace=1000, linger=0.5)
    for now, sight in enumerate(seen):
        busy = Snapshot(now, sight.in_flight + 1, sight.connections + 1, sight.half_open, sight.queued)
        assert not {Action.FLUSH, Action.CUT} & set(advance(stopping, busy)[0])
