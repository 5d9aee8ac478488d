"""Tests that hold in another module, too, where the daemons are served by another engine."""

import inspect
from collections.abc import Collection
from types import ModuleType
from typing import Any


def laws(*modules: ModuleType, but: Collection[str] = ()) -> dict[str, Any]:
    """Return the tests of these modules, and the fixtures of theirs that they ask for, for another module to have as its own.

    Fixtures that are not asked for (autouse) stay where they are.
    """
    found: dict[str, Any] = {}
    for module in modules:
        has = vars(module)
        for name, test in has.items():
            if name.startswith("test_") and name not in but and inspect.isfunction(test):
                found[name] = test
                found.update((each, has[each]) for each in inspect.signature(test).parameters if each in has)
    return found
