"""Whatever bytes come, a decoder does what it promises: a reply, a meaning, or an error of its own family."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from flaskd_ctl.contract.commands import COMMANDS
from flaskd_ctl.protocol import MAX_MESSAGE
from tests import fuzz
from tests.fuzz.material import FRAMES, PROBES, REPLIES, REQUESTS, mutated
from tests.fuzz.targets import Check, Decoders

SEEDS = {"request": REQUESTS, "line": REQUESTS, "reply": REPLIES, "probe": PROBES, "zmtp": FRAMES}


@pytest.fixture(scope="module")
def decoders() -> Iterator[dict[str, Check]]:
    with Decoders() as found:
        yield found


@pytest.mark.parametrize("name", SEEDS)
def test_good_messages_that_were_damaged(name: str, decoders: dict[str, Check]) -> None:
    """The same ones each time, from a seed."""
    rng = random.Random(name)
    for _ in range(fuzz.SEEDED):
        data = mutated(rng, SEEDS[name])
        try:
            decoders[name](data)
        except BaseException as error:
            error.add_note(f"the input was {data!r}")
            raise


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)
NAMES = st.sampled_from(sorted(COMMANDS)) | st.text(max_size=12)
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | st.text(max_size=5) | JSON,
        "method": NAMES | JSON,
        "params": st.dictionaries(
            st.sampled_from([param.name for command in COMMANDS.values() for param in command.params]),
            LEAVES,
            max_size=3,
        )
        | JSON,
        "more": JSON,
    },
)


def encoded(value: object) -> bytes:
    """Write it as json does, NaN and lone surrogates included: a peer may."""
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", SEEDS)
@settings(
    max_examples=fuzz.PROPERTY,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.binary(max_size=200) | CALLS.map(encoded) | st.lists(CALLS, max_size=3).map(encoded))
@example(data=b'{"jsonrpc":"2.0","id":1,"method":"' + b"\\u0000" * (MAX_MESSAGE // 7) + b'"}')
@example(data=b'{"jsonrpc":"2.0","id":"' + b"\x7f" * (MAX_MESSAGE - 50) + b'","method":"x"}')
@example(data=b'{"jsonrpc":"2.0","id":1,"method":"scale","params":{"' + b"\\u0001" * 99_999 + b'":1}}')
@example(data=b"[" * (MAX_MESSAGE - 1))
def test_whatever_hypothesis_makes_up(name: str, decoders: dict[str, Check], data: bytes) -> None:
    """JSON that is nearly a call, bytes that are nothing, and replies that could grow beyond what is asked."""
    decoders[name](data)


def test_there_are_so_many_as_is_said() -> None:
    """100,000, of which the most by far are for the decoders themselves; the page has the figures."""
    page = (Path(__file__).parents[2] / "docs" / "control-socket.md").read_text(encoding="utf-8")
    at_sockets = fuzz.LINES + fuzz.MESSAGES + fuzz.STREAMS + fuzz.FRAMES

    assert fuzz.TOTAL > 100_000
    for figure in (fuzz.TOTAL, fuzz.TOTAL - at_sockets, fuzz.GUIDED, at_sockets):
        assert f"{figure:,}" in page
