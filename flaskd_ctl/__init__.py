"""The client of a flaskd instance: `Client`, `AsyncClient` and the `flaskd_ctl` command.

The names below are imported when first asked for, so that the command line stays quick.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaskd_ctl.client.aio import AsyncClient
    from flaskd_ctl.client.blocking import Client
    from flaskd_ctl.errors import ControlError

__all__ = ["AsyncClient", "Client", "ControlError"]

_HOMES = {"AsyncClient": "client.aio", "Client": "client.blocking", "ControlError": "errors"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"flaskd_ctl.{_HOMES[name]}"), name)
