"""Names whose values look secret, and URLs without those values: one rule for logs, tracebacks and settings.

A name is split into words (`api_key`, `apiKey`, `X-Amz-Security-Token`). It looks secret if one of its words is in WORDS, if it
contains one of PARTS, or if it is one of NAMES as a whole.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

_WORDS = """
    auth authorization bearer cookie credential credentials csrf jwt key keys otp pass passphrase passwd password pin pwd
    secret secrets session sid sig signature token tokens
"""
WORDS: Final = frozenset(_WORDS.split())
"""A name with one of these words looks secret."""

PARTS: Final = (
    "apikey",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "sessionid",
    "signature",
    "token",
)
"""A name that contains one of these looks secret, also without a boundary between words: `accesstoken`."""

NAMES: Final = frozenset({"code", "authcode"})
"""These look secret as a whole: an OAuth `code` does, a `zip_code` does not."""

MASK: Final = "***"
"""Stands in place of a value."""

LONGEST: Final = 256
"""Characters of a name that are examined."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PAIR: Final = re.compile(r"(?<=[?&;#])([^=&;#]+)=([^&;#]+)")
_USER: Final = re.compile(r"(?<=://)[^/?#]*@")
_BEFORE_AT: Final = re.compile(r"(?<=://)([^\s\"<>]{1,512})@")
_WITH_PORT: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*):[0-9]*")
_WEB: Final = ("http://", "https://", "ws://", "wss://")


def looks_secret(name: str) -> bool:
    """Return whether a value of this name should not be shown: that of a parameter, a setting or a variable."""
    name = name[:LONGEST]
    words = {word.lower() for word in _WORD.findall(name)}
    compact = "".join(char for char in name.lower() if char.isalnum())
    return not WORDS.isdisjoint(words) or compact in NAMES or any(part in compact for part in PARTS)


def mask_url(url: str) -> str:
    """Return `url`, or the target of a request, with MASK for user and password and for parameters that look secret."""
    if "://" in url:
        url = _USER.sub(f"{MASK}@", url)
    if "?" in url or "#" in url:
        url = _PAIR.sub(_masked, url)
    return url


def mask_users(text: str) -> str:
    """Return a text with MASK for user and password of each URL in it, up to the last "@" of the word.

    A password may have any character but white space, `"`, `<` and `>`: many programs take it as it is, though RFC 3986 wants
    it encoded. A host alone, or with the port of a web address, is no password.
    """
    return _BEFORE_AT.sub(_without_user, text) if "://" in text else text


def _without_user(found: "re.Match[str]") -> str:
    whole, before = found[0], found[1]
    authority = re.split("[/?#]", before, maxsplit=1)[0]
    if authority == before:
        return f"{MASK}@"
    if "@" in authority:
        return f"{MASK}{whole[authority.rindex('@') :]}"
    web = found.string[max(0, found.start() - 8) : found.start()].lower().endswith(_WEB)
    if ":" not in authority or (web and _WITH_PORT.fullmatch(authority)):
        return whole
    return f"{MASK}@"


def _masked(pair: "re.Match[str]") -> str:
    return f"{pair[1]}={MASK}" if looks_secret(unquote_plus(pair[1])) else pair[0]
