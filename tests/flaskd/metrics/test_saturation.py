"""When an instance is saturated: not for a single request, and not on and off."""

from hypothesis import given, strategies as st

from flaskd.metrics.saturation import BEGIN_SHARE, CALM_LOOKS, END_SHARE, Saturation

looks = st.lists(
    st.integers(0, 300).flatmap(lambda answered: st.tuples(st.integers(0, answered), st.just(answered))),
    max_size=40,
)


def after(*seen: tuple[int, int], known: Saturation = Saturation()) -> Saturation:  # noqa: B008 - immutable
    for rejected, answered in seen:
        known = known.after(rejected=rejected, answered=answered)
    return known


def test_it_begins_with_a_share_of_the_requests() -> None:
    """One of many says nothing; one of one is all there is."""
    assert not after((1, 1000)).saturated
    assert not after((9, 100)).saturated
    assert after((10, 100)).saturated
    assert after((1, 1)).saturated
    assert not after((0, 0)).saturated


def test_it_ends_after_calm_looks_in_a_row() -> None:
    """One look with rejections begins the count anew; a few of very many are calm."""
    saturated = after((50, 100))
    calm = [(0, 100)] * (CALM_LOOKS - 1)
    assert after(*calm, known=saturated).saturated
    assert after(*calm, (2, 100), *calm, known=saturated).saturated
    assert not after(*calm, (0, 0), known=saturated).saturated
    assert not after(*[(1, 1000)] * CALM_LOOKS, known=saturated).saturated


@given(looks)
def test_it_follows_from_what_was_seen(seen: list[tuple[int, int]]) -> None:
    """It begins only with its share, ends only after enough calm looks, and is not followed only when all is quiet."""
    known, calm, quiet = Saturation(), 0, 0
    for rejected, answered in seen:
        was, known = known, known.after(rejected=rejected, answered=answered)
        share = rejected / max(answered, 1)
        calm = calm + 1 if share < END_SHARE else 0
        quiet = quiet + 1 if not rejected else 0
        if known.saturated and not was.saturated:
            assert share >= BEGIN_SHARE
        if was.saturated and not known.saturated:
            assert calm >= CALM_LOOKS
        assert known.over == (not known.saturated and quiet >= CALM_LOOKS)


@given(looks)
def test_it_ends(seen: list[tuple[int, int]]) -> None:
    """Whatever was: after some quiet looks there is nothing left to look at."""
    assert after(*[(0, 0)] * CALM_LOOKS, known=after(*seen)).over
