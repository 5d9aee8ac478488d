"""The Flask application's configuration, without what looks secret. It is hidden here, before it leaves the process.

Hidden are the value of a key that looks secret (`flaskd.http.secrets`), at any depth, the password of a URL, and inside any
other text what is written as `name='value'` or `?name=value` with a name that looks secret.
"""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

import flask
import msgspec

from flaskd.http.secrets import MASK, looks_secret
from flaskd.in_process.routes import flask_of
from flaskd.serving import Core
from flaskd.tasks import ConfigShown, ShowConfig
from flaskd.tasks.application import LONGEST_LIST

LONGEST: Final = 500
"""Characters of a value."""

MOST_ITEMS: Final = 100
"""Items of a dict or a list that are looked at; the text is cut before that."""

DEEPEST: Final = 8

LOOKED_AT: Final = 20_000
"""Characters of a text that are searched for secrets; the rest is dropped."""

FLASKS_OWN: Final = frozenset(flask.Flask.default_config) - {"SECRET_KEY", "SECRET_KEY_FALLBACKS"}
"""Settings that look secret by their names and are not: SESSION_COOKIE_NAME."""

_PASSWORD: Final = re.compile(r"(?<=://)([^\s:@/'\"]*):[^\s'\"]*@")
_URL: Final = re.compile(r"\A(\s*[A-Za-z][\w+.\-]*://[^\s:@/'\"]*):.*@", re.DOTALL)
_USER: Final = re.compile(r"(?<=://)[^\s:@/'\"]*@")
_PAIR: Final = re.compile(r"([\w.\-]+)(['\"]?\s*[=:]\s*)('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
_PARAMETER: Final = re.compile(r"(?<=[?&;])([\w.\-]+)=([^&;#\s'\"]+)")


def show_config(core: Core, task: ShowConfig) -> ConfigShown:
    """Return `app.config` as texts, as much as fits into a message."""
    config = dict(flask_of(core, "app-config").config)
    shown: dict[str, str] = {}
    size = 0
    for key in sorted(config, key=str):
        name, value = _clean(str(key)), _clean(shown_value(str(key), config[key]))
        size += len(msgspec.json.encode({name: value}))
        if size > LONGEST_LIST:
            break
        shown[name] = value
    return ConfigShown(config=shown, missing=len(config) - len(shown))


def shown_value(name: str, value: object) -> str:
    """Return the text for the value of a key."""
    return _cut(_text(name, value, DEEPEST))


def _text(name: str, value: object, levels: int) -> str:
    if _hidden(name, value):
        return MASK
    if levels == 0:
        return "…"
    if isinstance(value, Mapping):
        items = islice(value.items(), MOST_ITEMS)
        inner = (f"{_repr(key)}: {_text(str(key), each, levels - 1)}" for key, each in items)
        return f"{{{', '.join(inner)}}}"
    if type(value) in (list, tuple, set, frozenset):
        sequence: list[object] = list(islice(value, MOST_ITEMS))  # type: ignore[call-overload]  # one of these types
        return f"[{', '.join(_text('', each, levels - 1) for each in sequence)}]"
    if isinstance(value, str):  # of a whole URL the password may have any character
        value = _URL.sub(rf"\1:{MASK}@", value[:LOOKED_AT])
    return without_secrets(_repr(value))


def _hidden(name: str, value: object) -> bool:
    """Return whether the value of a key is not shown. What is not set is: that it is not may be the answer."""
    if name in FLASKS_OWN or value is None or isinstance(value, bool):
        return False
    return looks_secret(name) and not (isinstance(value, str | bytes) and not value)


def without_secrets(text: str) -> str:
    """Hide in a text the passwords of URLs, and the values of names that look secret."""
    text = _PASSWORD.sub(rf"\1:{MASK}@", text[:LOOKED_AT])
    text = _USER.sub(f"{MASK}@", text)
    text = _PAIR.sub(lambda pair: f"{pair[1]}{pair[2]}{MASK}" if looks_secret(pair[1]) else pair[0], text)
    return _PARAMETER.sub(lambda pair: f"{pair[1]}={MASK}" if looks_secret(pair[1]) else pair[0], text)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - whatever the application's __repr__ raises
        return f"<{type(value).__name__}: its repr() raised {type(error).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
