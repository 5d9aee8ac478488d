"""YAML files, read with PyYAML (the extra `flaskd[doctor]`): their documents, and access to nested values."""

import re
from collections.abc import Mapping
from typing import Any, Final

from flaskd.doctor.reading import Unreadable, unknown

Node = Mapping[str, Any]

STDIN: Final = "-"
ENDINGS: Final = (".yaml", ".yml", ".json")


def load(path: str, text: str) -> list[Node]:
    """Read the documents of `text` that are mappings. Raises Unreadable if it is not YAML, or PyYAML is missing."""
    try:
        import yaml
    except ImportError:
        raise Unreadable(
            f"{path} is YAML, and PyYAML is not installed", hint="pip install 'flaskd[doctor]'"
        ) from None
    try:
        found = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a 13th month, endless nesting
        if path != STDIN and not path.endswith(ENDINGS):  # a Containerfile, shop.socket
            raise unknown(path) from None
        raise Unreadable(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return [document for document in found if isinstance(document, dict)]


def at(node: Any, *path: str, default: Any = None) -> Any:
    """Return the value at `path` in nested mappings, else `default`."""
    for key in path:
        if not isinstance(node, Mapping) or node.get(key) is None:
            return default
        node = node[key]
    return node


def words(node: Any) -> list[str]:
    """Return a list as texts; anything else is an empty list."""
    return [str(each) for each in node] if isinstance(node, list) else []


def interpolated(node: Any, environ: Mapping[str, str]) -> Any:
    """Replace `${NAME}`, `${NAME:-default}` and `$NAME` in each text, as Docker does: `$$` is `$`, an unset variable empty."""

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        name = match["name"] or match["braced"]
        found = environ.get(name, "")
        return found or (match["default"] or "")

    pattern = r"(?P<escaped>\$\$)|\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?-(?P<default>[^}]*)|:?\?[^}]*)?\})"
    if isinstance(node, str):
        return re.sub(pattern, value, node)
    if isinstance(node, list):
        return [interpolated(each, environ) for each in node]
    if isinstance(node, dict):
        return {key: interpolated(each, environ) for key, each in node.items()}
    return node
