"""The page on the audit log."""

import re
from pathlib import Path

from flaskd_ctl.contract.commands import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "audit.md"


def test_the_page_names_each_command_that_is_recorded() -> None:
    """All those that change something, and no others."""
    (recorded,) = re.findall(r"from any\s+source: (.*?)\. It does not record", PAGE.read_text(), re.DOTALL)

    changing = {each.name.replace("_", "-") for each in COMMANDS.values() if each.changes}
    assert set(re.findall(r"`([a-z-]+)`", recorded)) == changing
