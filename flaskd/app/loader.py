"""Load the application that a target such as "shop:app" names.

A target is `module`, `module:attribute`, `module:factory()` with literal arguments, or the same with a path in place of
the module (`shop.py:app`, `src/shop`). A function that needs no arguments is a factory too. Without an attribute the
application is found as `flask --app` finds it: `app` or `application`, else the only Flask object, else `create_app()` or
`make_app()`. Any WSGI callable is accepted; if a module has several Flask objects, the target has to name one.
"""

import ast
import importlib
import inspect
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import flask

from flaskd.app.importing import attribute, failed, import_module
from flaskd.app.namesakes import release
from flaskd.errors import FlaskdError, LoadError
from flaskd.ledger.masking import mask_traceback
from flaskd.settings.target import is_path

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

NAMES: Final = ("app", "application")
FACTORIES: Final = ("create_app", "make_app")


def load(target: str, *, kept: "Callable[[], Iterable[str]] | None" = None) -> "WSGIApplication":
    """Import and return the application that `target` names. `kept` names the modules of `namesakes.release`; None: all.

    Raises LoadError with the original error and its place. As under `flask run`, an `app.run()` at the end of the imported file
    does nothing.
    """
    where, _, what = target.partition(":")
    os.environ.setdefault("FLASK_RUN_FROM_CLI", "true")  # Flask.run looks at it
    name = _module_name(where)
    if kept is not None:
        release(sys.path[0], kept)
    module = import_module(name, target)
    found = _named(module, what, target) if what else _best(module, target)
    if not callable(found):
        raise LoadError(
            f"cannot serve {target}: it is of type {type(found).__name__}, not a WSGI application",
            hint=_candidates(module),
        )
    application: WSGIApplication = found
    return application


def _module_name(where: str) -> str:
    """Return the module to import for a module name or a path, and put its directory on sys.path."""
    if not where.strip():
        raise LoadError("no application was named", hint="name it: flaskd run shop:app")
    if is_path(where):
        path = os.path.realpath(where)
        if not os.path.exists(path):
            raise LoadError(
                f"cannot load {where}: there is no file {path}",
                hint="check the path, or change the directory",
            )
        directory, file = os.path.split(path)
        parts = [file.removesuffix(".py")]
        if "." in parts[0]:
            raise LoadError(
                f"cannot load {where}: Python cannot import a file with a dot in its name", hint="rename it"
            )
        while os.path.exists(os.path.join(directory, "__init__.py")):
            directory, package = os.path.split(directory)
            parts.insert(0, package)
        if parts[-1] == "__init__":
            parts.pop()
        name = ".".join(parts)
    else:
        directory, name = os.getcwd(), where
    if not all(name.split(".")):
        raise LoadError(
            f"cannot load {where}: {name!r} is not the name of a module",
            hint="write shop:app or path/to/shop.py:app",
        )
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    return name


def _named(module: ModuleType, what: str, target: str) -> Any:
    """Return the attribute that `what` names, or the result of the factory call."""
    try:
        expression = ast.parse(what.strip(), mode="eval").body
    except SyntaxError:
        expression = ast.Constant(None)
    call = expression if isinstance(expression, ast.Call) else ast.Call(expression, [], [])
    try:
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (ValueError, TypeError, MemoryError, RecursionError):
        raise LoadError(f"cannot load {target}: the arguments of {what!r} must be literals") from None
    if not isinstance(call.func, ast.Name | ast.Attribute):
        raise LoadError(
            f"cannot load {target}: {what!r} is neither a name nor a call",
            hint="write shop:app or shop:create_app()",
        )
    found = attribute(module, ast.unparse(call.func), target, hint=lambda: _candidates(module))
    called = call is expression
    if called and isinstance(found, flask.Flask):
        raise LoadError(
            f"cannot load {target}: {ast.unparse(call.func)} is an application, not a factory",
            hint="leave out the brackets",
        )
    if called:
        return _called(found, target, *arguments, **keywords)
    if inspect.isfunction(found) and (found.__name__ in FACTORIES or _needs_nothing(found)):
        return _called(found, target)
    return found


def _needs_nothing(function: Any) -> bool:
    """Whether a function is a factory: every parameter has a default. A WSGI application needs two, or takes `*args`."""
    parameters = inspect.signature(function).parameters.values()
    return all(each.default is not each.empty for each in parameters)


def _best(module: ModuleType, target: str) -> Any:
    """Find the application in a module, as `flask --app` does."""
    for name in NAMES:
        if isinstance(getattr(module, name, None), flask.Flask):
            return getattr(module, name)
    flasks = [value for value in vars(module).values() if isinstance(value, flask.Flask)]
    if len(flasks) == 1:
        return flasks[0]
    if len(flasks) > 1:
        raise LoadError(f"cannot load {target}: it has several Flask applications", hint=_candidates(module))
    for name in FACTORIES:
        if inspect.isfunction(getattr(module, name, None)):
            return _called(getattr(module, name), target)
    for name in NAMES:
        if callable(getattr(module, name, None)):
            return getattr(module, name)
    raise LoadError(
        f"cannot load {target}: it has neither an application ({', '.join(NAMES)}) nor a factory ({', '.join(FACTORIES)})",
        hint=f"name it: flaskd run {target.partition(':')[0]}:the_name",
    )


def _called(factory: Any, target: str, *arguments: Any, **keywords: Any) -> Any:
    try:
        inspect.signature(factory).bind(*arguments, **keywords)
    except TypeError as error:
        name = getattr(factory, "__name__", "it")
        raise LoadError(f"cannot load {target}: {name}() does not take these arguments: {error}") from None
    except ValueError:
        pass  # a builtin without a signature: call it
    try:
        return factory(*arguments, **keywords)
    except (Exception, SystemExit) as error:  # whatever the application's code raises
        raise failed(target, error) from error


def _candidates(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, flask.Flask)]
    names += [f"{name}()" for name in FACTORIES if inspect.isfunction(getattr(module, name, None))]
    return (
        f"name one that it has: {', '.join(names)}"
        if names
        else "name another module: this one has neither a Flask application nor create_app()"
    )


def name_of(app: "WSGIApplication") -> str:
    """Return the default name of an instance: that of its Flask application, else of the WSGI callable."""
    name = getattr(app, "name", None) or getattr(app, "__name__", None) or type(app).__name__
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", str(name)).strip("-_.")[:64] or "app"


def applications_traceback(error: BaseException) -> str:
    """Return the traceback of an error in the application's code, from its first own line on; "" if it raised none.

    Values that look secret are masked.
    """
    if isinstance(error, FlaskdError) and error.__cause__ is None:
        return ""
    shown = traceback.TracebackException.from_exception(error.__cause__ or error)
    ours = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen importlib")
    theirs = itertools.dropwhile(lambda frame: frame.filename.startswith(ours), shown.stack)
    shown.stack[:] = list(theirs)
    return mask_traceback("".join(shown.format()))
