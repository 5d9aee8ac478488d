"""Each case of the table with each engine: HTTP and WSGI as the standards have them, and the same with all."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.http.cases import CASES
from tests.http.exceptions import EXCEPTIONS
from tests.http.expected import Case
from tests.http.servers import ENGINES, ROOT, Servers
from tests.http.trial import carry_out

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """One server for each engine, and one with small bounds."""
    with Servers() as running:
        yield running


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, engine: str, servers: Servers) -> None:
    """The client and the application see what the standard says, and the server is well after it."""
    exempt = EXCEPTIONS.get((engine, case.name))
    expected = exempt.expected if exempt else case.ours
    trial = carry_out(case, servers, engine, expected)
    assert not trial.faults, (
        f"{case.source}: {'; '.join(trial.faults)}\nseen: {trial.seen.summary}\n"
        f"received: {trial.seen.raw[:2000]!r}\ncalls: {trial.calls}"
    )


def test_names_are_unique() -> None:
    """A name is a case."""
    assert not [name for name, count in Counter(case.name for case in CASES).items() if count > 1]


def test_each_case_names_its_source() -> None:
    """What is expected comes from somewhere else than from a server."""
    assert not [case.name for case in CASES if not case.source]


def test_each_exception_is_said_where_people_choose() -> None:
    """docs/engines.md has the sentence, word for word; the case and the engine exist."""
    docs = " ".join((ROOT / "docs" / "engines.md").read_text(encoding="utf-8").split())
    names = {case.name for case in CASES}
    for (engine, name), exempt in EXCEPTIONS.items():
        assert name in names
        assert engine in ENGINES
        assert " ".join(exempt.sentence.split()) in docs, f"{engine}, {name}: {exempt.sentence}"
