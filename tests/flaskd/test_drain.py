"""The steps of a stop: what is ordered when, by the hundred, with a clock moved by hand."""

from hypothesis import given
from hypothesis import strategies as st

from flaskd.drain import RECHECK, UNTOLD_LINGER, Order, Phase, Retreat, Sight, Step


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


seconds = st.floats(0, 100)


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
)


@given(
    st.lists(st.tuples(st.floats(0, 2), sights), max_size=40),
    seconds,
    seconds,
    st.floats(0, 5),
    st.booleans(),
)
def test_whatever_is_seen_a_stop_ends_by_its_deadline_and_in_order(
    seen: list[tuple[float, Sight]], lame_duck: float, grace: float, linger: float, told: bool
) -> None:
    """TURN_AWAY, DEAFEN, CLOSE, then FLUSH or CUT: each at most once; nothing is cut before the deadline; it is done at it."""
    retreat = Retreat(now=0, lame_duck=lame_duck, grace=grace, linger=linger, told=told)
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
