"""The table that people see and the structs that the wire is: one set of names."""

import msgspec
import pytest

from flaskd_ctl.contract.commands import COMMANDS, Command
from flaskd_ctl.errors import BY_NAME
from flaskd_ctl.protocol import PARAMS, RESULTS


def test_every_command_has_shapes() -> None:
    """And there is no shape without a command."""
    assert COMMANDS.keys() == PARAMS.keys() == RESULTS.keys()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_parameters_are_the_same_on_both_sides(command: Command) -> None:
    """Each one that help shows is a field of the struct with the kind that help says, and the other way round."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(PARAMS[command.name])}
    assert [param.name for param in command.params] == list(fields)
    for param in command.params:
        assert (fields[param.name] is bool) is (param.kind == "flag")


def test_error_codes_are_unique() -> None:
    """A code names one error, as its name does."""
    assert len({error.code for error in BY_NAME.values()}) == len(BY_NAME)
