"""Keep the application from changing what flaskd serves with.

gevent and eventlet replace threads, locks and sockets in the whole process ("monkey patching"). flaskd serves with threads that
exist before the application is loaded; patched halfway, the process would hang. So these calls are refused where they are made.

Other programs replace single functions: `time.time` in tests, `socket.socket` for a proxy. They reach whoever looks the
function up in its module at the time of the call. flaskd's modules and the engines look up in a copy of those modules. What a
class of Python's uses inside (a Thread its Event) is not copied: patched badly, it breaks every library.
"""

import os
import queue
import select
import selectors
import signal
import socket
import sys
import threading
import time
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType
from typing import Any, Final, NoReturn

from flaskd.errors import LoadError

MODULES: Final = (os, queue, select, selectors, signal, socket, threading, time)

READERS: Final = ("flaskd", "flaskd_ctl", "waitress", "granian")
"""Packages that get copies. Werkzeug is the application's too, and there a patch is meant."""

PATCHING: Final = {"gevent.monkey": "patch_", "eventlet.patcher": "monkey_patch"}
"""Modules whose functions with this prefix replace parts of Python."""

HARMLESS: Final = {"patch_item", "patch_module"}
"""Functions of gevent's that only do what their caller names."""


def keep_originals() -> None:
    """Let flaskd and the engines, as far as they are imported, use the functions that these modules have now."""
    copies = {id(module): _copy(module) for module in MODULES}
    for name, reader in list(sys.modules.items()):
        if name.partition(".")[0] in READERS and reader is not sys.modules[__name__]:
            for key, value in list(vars(reader).items()):
                if (copy := copies.get(id(value))) is not None:
                    setattr(reader, key, copy)


def refuse_monkey_patching() -> None:
    """Let each call that would patch this process raise LoadError."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _copy(module: ModuleType) -> ModuleType:
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module))
    if module is not threading:  # which keeps its state in global variables
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                vars(copy)[name] = _with_globals(value, vars(copy))
    return copy


def _with_globals(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    """Return the function, which now looks up what it calls among these names: `socketpair` calls `socket`."""
    made = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


class _Finder:
    """Finds the modules in PATCHING as any other, and replaces their functions once they are imported."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in PATCHING:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            _replace_after(spec.loader, PATCHING[name])
        return spec


def _replace_after(loader: Loader, prefix: str) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for name in list(vars(module)):
            if name.startswith(prefix) and name not in HARMLESS:
                setattr(module, name, _refusing(f"{module.__name__}.{name}"))

    loader.exec_module = exec_module  # type: ignore[method-assign]  # this loader is for this module alone


def _refusing(name: str) -> Any:
    def refuse(*_: object, **__: object) -> NoReturn:
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename}, line {caller.f_lineno}"
        raise LoadError(
            f"{name}() would replace the threads and sockets that flaskd serves with ({place})",
            hint="remove the call: flaskd runs each request on a thread (--threads), which may wait",
        )

    return refuse
