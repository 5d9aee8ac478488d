"""Masks values that look secret in texts that an application has made: messages of exceptions, tracebacks.

A value is masked if the name before it looks secret (`flaskd.http.secrets`): `password=hunter2`, `{'token': 'x'}`,
`Authorization: Bearer x`, `--api-key x`; and in a URL, what stands before the host: `postgresql://shop:hunter2@db`. In a line
of source code only literals are masked: the rest is not secret, and shows what was called.
"""

import re
from collections.abc import Collection
from typing import Final

from flaskd.http.secrets import MASK, looks_secret, mask_users

_NAMED: Final = re.compile(
    r"""(?P<dashes>--)?(?P<quote>['"]?)(?P<name>[A-Za-z_][\w.-]{0,63})(?P=quote)(?P<separator>\s*(?:[=!]?=|:=|:)\s*)"""
)
_OPTION: Final = re.compile(r"""--(?P<name>[A-Za-z][\w-]{0,63})(?P<separator>['"]?,?\s+)""")
_LITERAL: Final = re.compile(
    r"""(?P<open>[rbfuRBFU]{0,2}(?P<mark>\"\"\"|'''|"|'))(?P<text>(?:\\.|(?!(?P=mark)).)*)(?P<close>(?P=mark)|$)""",
    re.DOTALL,
)
_VALUE: Final = re.compile(r"(?!\{)(?:(?:Basic|Bearer|Digest|Token)\s+)?[^\s,;&)\]}>'\"]+", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9][0-9A-Fa-fxob_.]*")
_PLACE: Final = re.compile(r'  File ".*", line \d+')


def mask_text(text: str, *, harmless: Collection[str] = ()) -> str:
    """Return `text` with MASK for values that look secret; names in `harmless` do not (`InvalidToken: expired`)."""
    text = _mask_after(_NAMED, mask_users(text), (_LITERAL, _VALUE), harmless)
    return _mask_after(_OPTION, text, (_LITERAL, _VALUE), harmless) if "--" in text else text


def mask_traceback(text: str, *, harmless: Collection[str] = ()) -> str:
    """Return a formatted traceback with MASK for values that look secret, in messages and in the source below each place."""
    found, source = [], False
    for line in text.split("\n"):
        if _PLACE.match(line):
            source = True
            found.append(line)
            continue
        source = source and line.startswith("    ")
        found.append(mask_source(line) if source else mask_text(line, harmless=harmless))
    return "\n".join(found)


def mask_source(line: str) -> str:
    """Return a line of source code with MASK for literals that look secret."""
    line = _mask_after(_NAMED, mask_users(line), (_LITERAL, _NUMBER))
    return _LITERAL.sub(_masked_literal, line) if "'" in line or '"' in line else line


def _masked_literal(literal: "re.Match[str]") -> str:
    return f"{literal['open']}{mask_text(literal['text'])}{literal['close']}"


def _mask_after(
    names: "re.Pattern[str]",
    text: str,
    values: "tuple[re.Pattern[str], ...]",
    harmless: Collection[str] = (),
) -> str:
    """Mask the values behind names that look secret; one pass, in which a value that is kept may itself be a name."""
    parts: list[str] = []
    done = at = 0
    while (found := names.search(text, at)) is not None:
        at = found.end()
        name = found["name"]
        if name in harmless or name.rpartition(".")[2] in harmless or not looks_secret(name):
            continue
        for pattern in values:
            if value := pattern.match(text, at):
                literal = pattern is _LITERAL
                parts += [text[done:at], value["open"] if literal else "", MASK]
                parts.append(value["close"] if literal else "")
                done = at = max(value.end(), at)
                break
    return "".join([*parts, text[done:]])
