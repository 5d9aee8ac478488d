"""`stats` and the steps of its history on the command line."""

import pytest

from flaskd_ctl import Client
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Call, Fake, golden


def test_only_what_is_given_is_sent(fake: Fake, ctl: Ctl) -> None:
    """An older daemon knows no steps."""
    assert ctl("stats").code == 0
    assert ctl("stats", "--step", "1m", "--limit", "5").code == 0
    with Client(endpoint=fake.url) as client:
        assert client.stats(step=60).step == 60.0

    assert [call.params for call in fake.calls] == [{}, {"limit": 5, "step": 60}, {"step": 60}]


def test_the_history_has_the_length_of_its_steps_and_the_queue(fake: Fake, ctl: Ctl) -> None:
    table = ctl("stats", "--step", "1m").out.partition("60 s FROM")[2]
    assert table.splitlines()[0].split()[-2:] == ["QUEUE", "P95"]
    assert table.splitlines()[1].split()[-2:] == ["0", "ms"]


def test_an_older_instances_history_is_in_steps_of_five_minutes_without_the_queue(
    fake: Fake, ctl: Ctl
) -> None:
    def old(call: Call) -> None:
        result = golden("stats")
        del result["step"]
        for moment in result["history"]:
            del moment["queue"], moment["seconds"]
        call.reply(result)

    fake.on("stats", old)

    row = ctl("stats").out.partition("5 min FROM")[2].splitlines()[1]
    assert row.split()[-1] == "-"
    with Client(endpoint=fake.url) as client:
        (moment,) = client.stats().history
    assert (moment.seconds, moment.queue) == (300.0, None)


@pytest.mark.parametrize("step", ["5s", "45", "10m", "long"])
def test_a_step_that_there_is_not_is_refused(fake: Fake, ctl: Ctl, step: str) -> None:
    """Nothing is asked."""
    told = ctl("stats", "--step", step)

    assert told.code == 2
    assert "is not a" in told.err
    assert not fake.calls
