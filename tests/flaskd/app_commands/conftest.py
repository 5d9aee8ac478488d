"""A registry of the test's own."""

import pytest

from flaskd.app_commands import registry


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> registry.Registry:
    """Let each test begin without commands, and leave none."""
    fresh = registry.Registry()
    monkeypatch.setattr(registry, "COMMANDS", fresh)
    return fresh
