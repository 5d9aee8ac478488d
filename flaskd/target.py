"""What names an application, "shop:app" or "src/shop.py:app", looked at without loading it."""

import os


def is_path(where: str) -> bool:
    """Tell a path from a module's name."""
    return where.endswith(".py") or os.sep in where or where in {os.curdir, os.pardir}


def default_name(target: str) -> str:
    """Return the name of an instance that serves `target`: `shop` of "shop:app", "pkg.shop" and "src/shop.py:app"."""
    where = target.partition(":")[0]
    if is_path(where):
        return os.path.basename(os.path.realpath(where)).removesuffix(".py")
    return where.rpartition(".")[2]
