"""Import modules and functions of the application, and describe their errors."""

import importlib
import os
import shlex
import traceback
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import Any

from flaskd.errors import FlaskdError, LoadError
from flaskd.ledger.masking import mask_text


def load_function(target: str, setting: str) -> Callable[..., Any]:
    """Import and return the function, module:function, that `setting` names. Raises LoadError."""
    where, _, what = target.partition(":")
    label, hint = f"{setting} {target}", "name it as module:function"
    module = import_module(where, label, hint=hint, app="APP")
    found = attribute(module, what, label, hint=lambda: hint)
    if not callable(found):
        raise LoadError(f"cannot load {label}: it is of type {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


def import_module(name: str, label: str, *, hint: str = "", app: str = "") -> ModuleType:
    """Import a module. Raises LoadError naming `label`, with the module's own error.

    `app` is the application as `flaskd check` takes it, by default `label`.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise failed(label, error, app=app) from error
        parent, _, last = name.rpartition(".")
        how = (
            f"if {last} is in the module {parent}, write {parent}:{last}"
            if parent and error.name == name
            else "run from the directory that holds it, or give its path: flaskd run path/to/shop.py:app"
        )
        raise LoadError(
            f"cannot load {label}: there is no module {error.name!r} in {os.getcwd()} or on sys.path",
            hint=hint or how,
        ) from None
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        raise failed(label, error, app=app) from error


def attribute(module: ModuleType, path: str, label: str, *, hint: Callable[[], str]) -> Any:
    """Return an attribute, or an attribute of one: `app`, `Box.app`."""
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise LoadError(f"cannot load {label}: {module.__name__} has no attribute {part!r}", hint=hint())
        found = getattr(found, part)
    return found


def failed(target: str, error: BaseException, *, app: str = "") -> LoadError:
    """Make the error for code of the application, `app`, that raised `error`."""
    if isinstance(error, FlaskdError):  # what it has asked of us is refused
        return LoadError(f"cannot load {target}: {error}", hint=error.hint)
    return LoadError(
        f"cannot load {target}: {what_failed(error)}",
        hint=f"the traceback is shown by `flaskd check {shlex.quote(app or target)} --traceback`",
    )


def what_failed(error: BaseException) -> str:
    """Describe an error of the application in one line, with its place: the innermost line outside the import system.

    Values that look secret are masked: whoever may ask for the state of the instance reads it.
    """
    where = _place(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({error.filename}, line {error.lineno})"
    kind = error.__class__
    name = (
        kind.__qualname__
        if kind.__module__ in {"builtins", "__main__"}
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    said = f"{name}: {mask_text(' '.join(text.split()))}" if text else name
    return f"{said}{where}"


def _place(trace: TracebackType | None) -> str:
    frames = [frame for frame in traceback.extract_tb(trace) if not frame.filename.startswith("<frozen")]
    if len(frames) < 2:  # the only one is this module's
        return ""
    return f" ({frames[-1].filename}, line {frames[-1].lineno})"
