"""What `flaskd doctor` says of bad files, and that it says nothing of good ones."""

import pytest

from flaskd.doctor.rules import RULES
from tests.flaskd.doctor.conftest import Look
from tests.flaskd.doctor.examples import BAD, GOOD, POD, Bad


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_of_a_good_file(name: str, look: Look) -> None:
    """A warning that is always there is no warning."""
    found = look({name: GOOD[name]})

    assert found.findings == []
    assert not found.loses


def test_nothing_is_said_of_good_files_together(look: Look) -> None:
    """Each balancer is held against each instance."""
    found = look(GOOD)

    assert found.findings == []
    assert len(found.looked_at) == len(GOOD)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: f"{bad.rule}-{bad.new.strip()[:20]}")
def test_a_bad_file_is_told_with_its_numbers(bad: Bad, look: Look) -> None:
    """One change to a good file, and the rule about it says so, with a next step; none other does."""
    assert bad.old in GOOD[bad.name]
    files = {name: GOOD[name] for name in bad.beside}

    found = look({**files, bad.name: GOOD[bad.name].replace(bad.old, bad.new)})

    (finding,) = found.findings
    assert finding.rule == bad.rule
    assert bad.name in finding.where
    assert bad.said in finding.sentence
    assert finding.next
    assert finding.severity is next(rule.severity for rule in RULES if rule.id == bad.rule)


def test_every_rule_has_a_bad_example() -> None:
    """And a name of its own; the good examples are everybody's."""
    assert {bad.rule for bad in BAD} == {rule.id for rule in RULES}
    assert len({rule.id for rule in RULES}) == len(RULES)


def test_only_a_note_is_no_failure(look: Look) -> None:
    """A pipeline may go on with those."""
    found = look({"a.service": GOOD["signalled.service"].replace("KillMode=mixed\n", "")})

    assert [finding.severity.value for finding in found.findings] == ["note"]
    assert not found.loses


def test_a_deployment_that_is_scaled_to_nothing_loses_nothing(look: Look) -> None:
    """A rollout of no pods leaves none."""
    found = look(
        {
            "pod.yaml": POD.replace("replicas: 3", "replicas: 0").replace(
                "maxUnavailable: 0", "maxUnavailable: 1"
            )
        }
    )

    assert "pod-rollout" not in {finding.rule for finding in found.findings}


def test_a_stack_that_is_scaled_to_nothing_is_read(look: Look) -> None:
    """No tasks are no division by zero."""
    stack = (
        GOOD["stack.yml"]
        .replace("replicas: 3", "replicas: 0")
        .replace("start-first", "start-first\n        parallelism: 0")
    )

    found = look({"stack.yml": stack, "haproxy.cfg": GOOD["haproxy.cfg"]})

    assert len(found.looked_at) == 2
