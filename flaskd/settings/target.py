"""The name of an application, "shop:app" or "src/shop.py:app", without loading it."""

import os


def is_path(where: str) -> bool:
    """Whether `where` is a path, not the name of a module."""
    return where.endswith(".py") or os.sep in where or where in {os.curdir, os.pardir}


def default_name(target: str, directory: str = "") -> str:
    """Return the default name of an instance that serves `target`: `shop` for "shop:app", "pkg.shop" and "src/shop.py:app".

    A path is relative to `directory`, by default the current one.
    """
    where = target.partition(":")[0]
    if is_path(where):
        return os.path.basename(os.path.realpath(os.path.join(directory, where))).removesuffix(".py")
    return where.rpartition(".")[2]
