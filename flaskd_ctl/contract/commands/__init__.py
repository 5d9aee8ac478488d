"""The COMMANDS table: every command of the control plane, once.

The client's command line, help and completion, the daemon's registry, `describe` and docs/protocol.md are derived from it. The
types of parameters and results are in `protocol`, under the same names. This module imports next to nothing, so that
`flaskd_ctl status` need not import msgspec (docs/decisions/0002).
"""

from typing import Final

from flaskd_ctl.contract.commands import (
    application,
    diagnosis,
    logs,
    looking,
    metrics,
    operating,
    problems,
    tuning,
)
from flaskd_ctl.contract.commands.command import (
    AUTO as AUTO,
    PROGRESS as PROGRESS,
    WORKER as WORKER,
    Command as Command,
    Param as Param,
    Role as Role,
)

PROTOCOL_VERSION: Final = "1.0"

SECTIONS: Final[dict[str, tuple[Command, ...]]] = {
    "Show the instance": looking.COMMANDS,
    "Statistics": metrics.COMMANDS,
    "Errors and slow requests": problems.COMMANDS,
    "Log": logs.COMMANDS,
    "Look into the workers": diagnosis.COMMANDS,
    "The application": application.COMMANDS,
    "Code, settings and log levels": tuning.COMMANDS,
    "Operate the instance": operating.COMMANDS,
}
"""The commands under the headings of the help."""

COMMANDS: Final[dict[str, Command]] = {
    command.name: command for section in SECTIONS.values() for command in section
}
"""Every command by name, in the order of the help."""
