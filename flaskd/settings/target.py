"""What names an application, "shop:app" or "src/shop.py:app", looked at without loading it."""

import os


def is_path(where: str) -> bool:
    """Tell a path from a module's name."""
    return where.endswith(".py") or os.sep in where or where in {os.curdir, os.pardir}


def default_name(target: str, directory: str = "") -> str:
    """Return the name of an instance that serves `target`: `shop` of "shop:app", "pkg.shop" and "src/shop.py:app".

    A path is looked at from `directory`, which is the current one where it is "".
    """
    where = target.partition(":")[0]
    if is_path(where):
        return os.path.basename(os.path.realpath(os.path.join(directory, where))).removesuffix(".py")
    return where.rpartition(".")[2]
