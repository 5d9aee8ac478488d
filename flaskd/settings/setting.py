"""What a setting is: its facts, and the types that several settings have.

msgspec checks types and bounds; in a type's `Meta`, `description` says what a value looks like.
"""

from typing import Annotated, Final, Literal, NamedTuple

from msgspec import Meta

from flaskd.engines.choice import ENGINES


class Setting(NamedTuple):
    """The facts of a setting that its type does not tell.

    `metavar` names its value in help texts (default: from the type), and `default_means` says what the default does.
    `restart` is for settings that a reload cannot change at all, or cannot switch on or off. A setting that is
    `workers_only` has no effect where one process serves the application (`flaskd.Server`). `requires` names the settings
    that it needs, `how` says where to get their values, `engines` names the engines that it works with. `numeric` is for
    texts that TOML and Python may also give as a number. `live` says which processes `flaskd_ctl set` has to tell of a new
    value, "" if it cannot change the setting; `live_engines` names the engines that take a new value while they serve.
    `command` is the command that changes it instead.
    """

    help: str
    metavar: str = ""
    default_means: str = ""
    restart: Literal["", "to change", "to switch"] = ""
    workers_only: bool = False
    requires: tuple[str, ...] = ()
    how: str = ""
    engines: tuple[str, ...] = ENGINES
    numeric: bool = False
    live: Literal["", "supervisor", "workers"] = ""
    live_engines: tuple[str, ...] = ENGINES
    command: str = ""


OWN_READERS: Final = ("waitress", "werkzeug")
"""Engines whose requests flaskd reads itself; granian is told how at its start."""


def one_of(*words: str) -> Meta:
    """Allow only these words."""
    return Meta(pattern=f"^({'|'.join(words)})$", description=" or ".join(words))


Limit = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=0)]
SIZE: Final = "a number of bytes, or of KiB, MiB, GiB or TiB: 512M, 1G"
Function = Annotated[str, Meta(pattern="^([^:]+:[^:]+)?$", description="module:function")]
HostPort = Annotated[
    str, Meta(pattern="^([^/]*:[0-9]{1,5})?$", description="HOST:PORT, such as 127.0.0.1:8081")
]
Roles = Annotated[
    tuple[Annotated[str, Meta(pattern="^(user|group|key):[^,:\\s]+$")], ...],
    Meta(description="user:NAME, group:NAME or key:NAME"),
]
