"""docs/install.md: the commands are run by .ci/package.py; the table of the extras is that of pyproject.toml."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_extras_are_those_of_the_project() -> None:
    """Each with the packages that it installs."""
    page = (PROJECT / "docs" / "install.md").read_text(encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    shown = {
        name: set(packages.split(", "))
        for name, packages in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", page, re.M)
    }
    extras = project["optional-dependencies"]
    assert shown == {name: {re.split("[<>=~]", each)[0] for each in needs} for name, needs in extras.items()}
