"""Run a gunicorn.conf.py, which is code, in this process, and return the settings and the hooks that it makes."""

import ast
import importlib
import importlib.util
import json
import os
import sys
import tokenize
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, Final

from flaskd.app.importing import what_failed
from flaskd.migrate.gunicorn.table import OPTIONS

MODULE: Final = "python:"
FILE: Final = "file:"
NAME: Final = "__config__"
"""The name of the module, as gunicorn has it."""


def result_of(location: str, directory: str) -> dict[str, Any]:
    """Run the configuration and return what it makes: `settings`, or the `error` that it raised."""
    sys.path.insert(0, directory)
    try:
        module = _load(location)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the configuration raises
        return {"error": what_failed(error)}
    return {"settings": _settings(vars(module), places(_source(module)))}


def _load(location: str) -> ModuleType:
    """Import the module, or the file by whatever name it has."""
    if location.startswith(MODULE):
        return importlib.import_module(location.removeprefix(MODULE))
    loader = SourceFileLoader(NAME, os.path.abspath(location.removeprefix(FILE)))
    spec = importlib.util.spec_from_file_location(NAME, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    loader.exec_module(module)
    return module


def _source(module: ModuleType) -> str:
    """Return the text of a module, "" if it has none, as one that is compiled."""
    try:
        with tokenize.open(module.__file__ or os.devnull) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeError):
        return ""


def places(source: str) -> dict[str, tuple[int, bool]]:
    """Return the last line that makes each global name, and whether its value is computed, not written there."""
    found: dict[str, tuple[int, bool]] = {}
    nodes: list[ast.AST] = list(ast.parse(source).body)
    while nodes:
        node = nodes.pop(0)
        if isinstance(node, ast.FunctionDef):
            found[node.name] = (node.lineno, False)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                found[name] = (node.lineno, not _literal(node.value))
        elif not isinstance(node, ast.ClassDef):  # if, try, with, for: what they assign is global, too
            nodes[:0] = [
                each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt | ast.ExceptHandler)
            ]
    return found


def _literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def _settings(made: Mapping[str, Any], lines: Mapping[str, tuple[int, bool]]) -> dict[str, Any]:
    """Return the settings among the global names."""
    settings = {}
    for option in OPTIONS:
        value = made.get(option.name)
        if value is not None and (callable(value) or not option.hook):
            line, computed = lines.get(option.name, (0, True))
            settings[option.name] = {"value": _plain(value), "line": line, "computed": computed}
    return settings


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a class by its name, and what JSON does not know as text."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a circle
        return type(value).__name__
