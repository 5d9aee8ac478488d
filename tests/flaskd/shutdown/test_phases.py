"""The steps of a stop: what is ordered when, by the hundred, with a clock moved by hand."""

from hypothesis import given
from hypothesis import strategies as st

from flaskd.shutdown.phases import (
    LONGEST_WAIT,
    LOOKS,
    RECHECK,
    UNTOLD_LINGER,
    LameDuck,
    Order,
    Phase,
    Retreat,
    Sight,
    Step,
)

seconds = st.floats(0, 100)


def advance(retreat: Retreat, sight: Sight) -> tuple[list[Order], Step]:
    """Step until nothing more can be done at this sight; returns all orders and the last step."""
    orders: list[Order] = []
    while True:
        phase = retreat.phase
        step = retreat.step(sight)
        orders += step.orders
        if retreat.phase is phase and not step.orders:
            return orders, step


def test_an_idle_server_stops_at_once() -> None:
    """With nothing open and nothing queued there is nothing to wait for."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=5)

    orders, _ = advance(retreat, Sight(now=0, flushed=True))

    assert orders == [Order.TURN_AWAY, Order.DEAFEN, Order.CLOSE, Order.FLUSH]
    assert retreat.phase is Phase.DONE


def test_the_listener_is_not_closed_while_connections_are_queued() -> None:
    """Who waits in the accept queue is accepted first, however long that takes, up to the deadline."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=0.5)
    orders = []
    for now in range(30):
        new, _ = advance(retreat, Sight(now=now, queued=True, in_flight=2, connections=2))
        orders += new
    assert Order.CLOSE not in orders

    orders, _ = advance(retreat, Sight(now=30, queued=True, in_flight=2, connections=2))

    assert orders == [Order.DEAFEN, Order.CLOSE, Order.CUT]


def test_silent_connections_do_not_keep_the_queue_waiting() -> None:
    """While the queue does not move, connections that send nothing are reaped once a linger."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=0.5)
    assert advance(retreat, Sight(now=0, queued=True, connections=2))[0] == [Order.TURN_AWAY]
    assert advance(retreat, Sight(now=0.4, queued=True, connections=2))[0] == []
    assert advance(retreat, Sight(now=0.5, queued=True, connections=2))[0] == [Order.REAP]
    assert advance(retreat, Sight(now=1.0, queued=True, connections=2))[0] == [Order.REAP]


def test_handshakes_under_way_are_waited_for_up_to_the_linger() -> None:
    """A half-open handshake may complete; one that never does holds nothing up beyond the linger."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=0.5)
    assert advance(retreat, Sight(now=0, half_open=True))[0] == [Order.TURN_AWAY]
    assert advance(retreat, Sight(now=0.4, half_open=True))[0] == []
    assert advance(retreat, Sight(now=0.6, half_open=True))[0] == [Order.DEAFEN, Order.CLOSE, Order.FLUSH]


def test_a_silent_connection_gets_the_linger_from_when_the_last_request_ended() -> None:
    """The linger counts with nothing in flight: a long request does not eat it up."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=0.5)
    advance(retreat, Sight(now=0, in_flight=1, connections=2))
    advance(retreat, Sight(now=10, in_flight=1, connections=2))
    orders, step = advance(retreat, Sight(now=20, connections=1))
    assert (orders, step.look_again) == ([], 20.5)
    assert advance(retreat, Sight(now=20.5, connections=1))[0] == [Order.FLUSH]


def test_a_lame_duck_serves_until_its_time_is_over() -> None:
    """Nothing is turned away while balancers still find out; the grace period starts after it."""
    retreat = Retreat(now=0, lame_duck=5, grace=10, linger=0.5)
    orders, step = advance(retreat, Sight(now=4.9))
    assert (orders, step.look_again) == ([], 5)
    assert retreat.deadline == 15
    assert Order.TURN_AWAY in advance(retreat, Sight(now=5))[0]


def leave(retreat: Retreat, arrivals: list[float], *, queued: bool = False) -> float:
    """Let requests come at these moments; return when the lame duck's time was over. Looks are as late as they may be."""
    now = 0.0
    while retreat.phase is Phase.LAME_DUCK:
        begun = sum(moment <= now for moment in arrivals)
        _, step = advance(retreat, Sight(now=now, begun=begun, queued=queued))
        if retreat.phase is Phase.LAME_DUCK:
            assert step.look_again is not None
            assert step.look_again > now
            now = step.look_again
    return now


def test_who_gets_no_requests_any_more_leaves() -> None:
    """The lame duck is over when balancers have found out, and the grace period begins then."""
    retreat = Retreat(now=0, lame_duck=60, unrouted=2, grace=10, linger=0.5)

    assert 4.2 <= leave(retreat, [0.5, 2.2]) <= 4.2 + 2 / LOOKS

    assert round(retreat.deadline - retreat.lame_until, 6) == 10


def test_connections_that_wait_have_come_too() -> None:
    """Where all threads are busy no request begins, and yet there are new ones."""
    retreat = Retreat(now=0, lame_duck=60, unrouted=2, grace=10, linger=0.5)

    assert leave(retreat, [], queued=True) == 60


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
    retreat = Retreat(now=0, lame_duck=longest, unrouted=unrouted, grace=grace, linger=0.5)

    left = leave(retreat, arrivals)

    came = max((moment for moment in arrivals if moment <= left), default=0.0)
    late = max(unrouted / LOOKS, RECHECK)
    assert left <= longest
    assert left == longest or left >= came + unrouted - 1e-9
    assert all(
        any(earlier <= moment <= earlier + unrouted + late + 1e-9 for moment in [*arrivals, longest])
        for earlier in [0.0, *arrivals]
        if earlier + unrouted + late + 1e-9 < left
    )
    assert retreat.lame_until + grace - 1e-6 <= retreat.deadline <= retreat.lame_until + grace + 1e-6


@given(st.lists(st.tuples(seconds, seconds, seconds)), st.floats(0, 20), seconds)
def test_joining_a_wait_never_prolongs_it(
    later: list[tuple[float, float, float]], unrouted: float, grace: float
) -> None:
    """A second shutdown may make the first look, or look for less; it is never over later for that."""
    alone = Retreat(now=0, lame_duck=60, unrouted=unrouted, grace=grace, linger=1)
    joined = Retreat(now=0, lame_duck=60, unrouted=unrouted, grace=grace, linger=1)
    for duck, wait, more in later:
        joined.hasten(now=0, lame_duck=duck, unrouted=wait, grace=more, linger=1)

    assert leave(joined, [1, 2, 3]) <= leave(alone, [1, 2, 3]) + unrouted / LOOKS + RECHECK
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
    retreat = Retreat(now=0, lame_duck=0, grace=0, linger=5)

    orders, _ = advance(retreat, Sight(now=0, in_flight=3, connections=4, queued=True, half_open=True))

    assert orders == [Order.TURN_AWAY, Order.DEAFEN, Order.CLOSE, Order.CUT]


def test_an_engine_that_tells_nothing_is_looked_at_again_and_again() -> None:
    """Nobody says when a connection ends; while it is a lame duck, there is nothing to look for."""
    retreat = Retreat(now=0, lame_duck=5, grace=30, linger=0.5, told=False)
    assert advance(retreat, Sight(now=0, in_flight=1, connections=1))[1].look_again == 5
    for now, sight in [(5.0, Sight(now=5, queued=True)), (6.0, Sight(now=6, in_flight=1, connections=1))]:
        step = advance(retreat, sight)[1]
        assert step.look_again == now + RECHECK
    advance(retreat, Sight(now=7, connections=1))
    assert advance(retreat, Sight(now=7.6, connections=1))[0] == [Order.FLUSH]
    assert advance(retreat, Sight(now=7.7, connections=1))[1].look_again == 7.7 + RECHECK


def test_an_engine_that_tells_nothing_lingers_a_moment_at_least() -> None:
    """A request that it has read may not have begun in the application; with nothing open there is none."""
    retreat = Retreat(now=0, lame_duck=0, grace=30, linger=0, told=False)
    assert advance(retreat, Sight(now=0, connections=1))[0] == [Order.TURN_AWAY, Order.DEAFEN, Order.CLOSE]
    assert advance(retreat, Sight(now=UNTOLD_LINGER / 2, connections=1))[0] == []
    assert advance(retreat, Sight(now=UNTOLD_LINGER, connections=1))[0] == [Order.FLUSH]

    idle = Retreat(now=0, lame_duck=0, grace=30, linger=0, told=False)
    assert advance(idle, Sight(now=0, flushed=True))[0][-1] is Order.FLUSH


@given(st.lists(st.tuples(seconds, seconds, seconds)), seconds, seconds)
def test_a_second_shutdown_never_gives_more_time(
    later: list[tuple[float, float, float]], lame_duck: float, grace: float
) -> None:
    """Asking again joins, or brings the deadline nearer; it never extends it."""
    retreat = Retreat(now=0, lame_duck=lame_duck, grace=grace, linger=1)
    for now, duck, more in sorted(later):
        before = (retreat.deadline, retreat.lame_until)
        retreat.hasten(now=now, lame_duck=duck, grace=more, linger=30)
        assert retreat.deadline <= min(before[0], now + duck + more)
        assert retreat.lame_until <= min(before[1], now + duck)


sights = st.builds(
    Sight,
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
    seen: list[tuple[float, Sight]],
    lame_duck: float,
    grace: float,
    linger: float,
    told: bool,
    unrouted: float,
) -> None:
    """TURN_AWAY, DEAFEN, CLOSE, then FLUSH or CUT: each at most once; nothing is cut before the deadline; it is done at it."""
    retreat = Retreat(now=0, lame_duck=lame_duck, unrouted=unrouted, grace=grace, linger=linger, told=told)
    now, orders = 0.0, []
    for pause, sight in seen:
        now += pause
        new, step = advance(retreat, Sight(now, *(getattr(sight, name) for name in sight.__slots__[1:])))
        assert Order.CUT not in new or now >= retreat.deadline
        assert retreat.phase is Phase.DONE or step.look_again is not None
        orders += new
    orders += advance(retreat, Sight(max(now, retreat.deadline), in_flight=1, connections=1))[0]

    assert retreat.phase is Phase.DONE
    steps = [order for order in orders if order is not Order.REAP]
    assert steps[:3] == [Order.TURN_AWAY, Order.DEAFEN, Order.CLOSE]
    assert steps[3:] in ([Order.CUT], [Order.FLUSH], [Order.FLUSH, Order.CUT])


@given(st.lists(sights, max_size=30))
def test_nothing_in_flight_is_flushed_away(seen: list[Sight]) -> None:
    """While a request is in flight and the deadline has not come, neither FLUSH nor CUT is ordered."""
    retreat = Retreat(now=0, lame_duck=0, grace=1000, linger=0.5)
    for now, sight in enumerate(seen):
        busy = Sight(now, sight.in_flight + 1, sight.connections + 1, sight.half_open, sight.queued)
        assert not {Order.FLUSH, Order.CUT} & set(advance(retreat, busy)[0])
