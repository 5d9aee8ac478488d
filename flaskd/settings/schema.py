"""The settings: each is declared once, here or in `running`, with its type, bounds, default, help text and rules.

Command-line options, environment variables, TOML keys, `flaskd config`, docs/configuration.md and the checks are derived from
these declarations.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from flaskd.engines.choice import MAX_HEAD
from flaskd.ledger.access_log import FORMATS
from flaskd.logs.form import FORMATS as LOG_FORMATS
from flaskd.logs.handler import LEVELS
from flaskd.settings.developing import DevelopingSettings
from flaskd.settings.setting import OWN_READERS, SIZE, Count, HostPort, Limit, Roles, Setting, one_of


class Settings(DevelopingSettings, frozen=True, forbid_unknown_fields=True):
    """All settings of an instance: those of what runs, of `flaskd dev`, then HTTP, probes, control, logs and TLS.

    Durations are in seconds.
    """

    head_timeout: Annotated[
        Limit,
        Setting(
            "Give a client this many seconds to send the head of a request, and to begin its next request.",
            live="workers",
            live_engines=OWN_READERS,
        ),
    ] = 30.0
    body_timeout: Annotated[
        Limit,
        Setting(
            "Give a client this many seconds to send a request body, and one more for each 500 bytes.",
            live="workers",
        ),
    ] = 30.0
    write_timeout: Annotated[
        Limit,
        Setting(
            "Close a connection whose client has not read its response for this many seconds.",
            live="workers",
        ),
    ] = 60.0
    max_request_header_size: Annotated[
        int,
        Meta(ge=8192, le=1_048_576),
        Setting(
            "Answer 431 to a request with a larger request line and headers.",
            metavar="BYTES",
            live="workers",
            live_engines=OWN_READERS,
        ),
    ] = MAX_HEAD
    max_request_body_size: Annotated[
        Count,
        Setting("Answer 413 to a request with a larger body.", metavar="BYTES", default_means="no limit"),
    ] = 0
    max_spool_size: Annotated[
        str,
        Meta(pattern="^[1-9][0-9]{0,15}[KMGT]?$", description=SIZE),
        Setting(
            "Maximum space for stored request bodies, in all workers together: bytes, or 512M, 1G. Only with waitress.",
            metavar="SIZE",
            numeric=True,
        ),
    ] = "1G"
    health: Annotated[
        HostPort,
        Setting(
            "Answer health probes (/livez, /readyz) and /metrics at this address, in the supervisor.",
            metavar="HOST:PORT",
            default_means="off",
            restart="to change",
            workers_only=True,
        ),
    ] = ""
    agent: Annotated[
        HostPort,
        Setting(
            "Answer HAProxy's agent-check at this address, with the state and a weight by load.",
            metavar="HOST:PORT",
            default_means="off",
            restart="to change",
            workers_only=True,
        ),
    ] = ""
    unready_when_saturated: Annotated[
        bool,
        Setting(
            "Answer 503 at /readyz while many requests exceed --max-queue-time.",
            workers_only=True,
            requires=("max_queue_time",),
            live="supervisor",
        ),
    ] = False
    control: Annotated[bool, Setting("Open the control socket.", restart="to change")] = True
    control_endpoints: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^tcp://[^/]+:[0-9]{1,5}$")], ...],
        Meta(description="tcp://HOST:PORT; ipc and unix endpoints are always there"),
        Setting(
            "Let clients with a CURVE key connect from other hosts. May be repeated. See docs/other-hosts.md.",
            metavar="tcp://HOST:PORT",
            default_means="off",
            restart="to change",
            requires=("control", "curve_key", "authorized_keys"),
            how="`flaskd keygen` makes keys",
        ),
    ] = ()
    curve_key: Annotated[
        str,
        Setting(
            "File with the instance's secret key for --control-endpoints; `flaskd keygen` makes one.",
            metavar="FILE",
            restart="to change",
        ),
    ] = ""
    authorized_keys: Annotated[
        str,
        Setting(
            "Directory with the public keys, NAME.key, that may connect to --control-endpoints.",
            metavar="DIR",
            restart="to change",
        ),
    ] = ""
    viewers: Annotated[
        Roles,
        Setting(
            "Let user:NAME, group:NAME or key:NAME see the state of the instance. May be repeated. See docs/access.md.",
            metavar="GRANTEE",
        ),
    ] = ()
    operators: Annotated[
        Roles,
        Setting(
            "Let user:NAME, group:NAME or key:NAME also drain, reload, scale and stop the instance. May be repeated.",
            metavar="GRANTEE",
        ),
    ] = ()
    admins: Annotated[
        Roles,
        Setting(
            "Let user:NAME, group:NAME or key:NAME do everything that the owner may. May be repeated.",
            metavar="GRANTEE",
        ),
    ] = ()
    tracebacks: Annotated[
        str,
        one_of("viewer", "operator", "admin"),
        Setting(
            "Show the application's tracebacks to callers with this role or a higher one.",
            metavar="[viewer|operator|admin]",
        ),
    ] = "operator"
    ledger: Annotated[bool, Setting("Keep track of the requests in flight.")] = True
    access_log: Annotated[
        str,
        one_of(*FORMATS),
        Setting(
            "Write a line for each request to stdout.", metavar=f"[{'|'.join(FORMATS)}]", requires=("ledger",)
        ),
    ] = "off"
    access_log_file: Annotated[
        str,
        Setting(
            "Write the access log to this file; `flaskd_ctl logs --reopen` and SIGUSR1 open it again.",
            metavar="FILE",
            default_means="stdout",
            restart="to change",
            workers_only=True,
        ),
    ] = ""
    log_level: Annotated[
        str,
        one_of(*LEVELS),
        Setting(
            "Log records of this level and above, in the supervisor and in workers.",
            metavar=f"[{'|'.join(LEVELS)}]",
            workers_only=True,
        ),
    ] = "info"
    log_format: Annotated[
        str,
        one_of(*LOG_FORMATS),
        Setting(
            "Write the log as text, as JSON (one object a line), or plain: without times and workers. See docs/logs.md.",
            metavar=f"[{'|'.join(LOG_FORMATS)}]",
            workers_only=True,
        ),
    ] = "text"
    log_file: Annotated[
        str,
        Setting(
            "Write the log to this file; `flaskd_ctl logs --reopen` and SIGUSR1 open it again.",
            metavar="FILE",
            default_means="stdout and stderr",
            restart="to change",
            workers_only=True,
        ),
    ] = ""
    log_max_size: Annotated[
        str,
        Meta(pattern="^(0|[1-9][0-9]{0,15}[KMGT]?)$", description=SIZE),
        Setting(
            "Rename a log file of this size to FILE.1 and begin a new one; one old file is kept.",
            metavar="SIZE",
            default_means="never",
            restart="to change",
            workers_only=True,
            numeric=True,
        ),
    ] = "0"
    audit_log: Annotated[
        str,
        Setting(
            "Record who asked for which change in this file; off keeps no record.",
            metavar="FILE",
            default_means="a file in the state directory",
            restart="to change",
        ),
    ] = ""
    trusted_proxies: Annotated[
        int,
        Meta(ge=0, le=100),
        Setting("Trust the X-Forwarded-* and X-Request-Start headers of this many reverse proxies in front."),
    ] = 0
    tls_cert: Annotated[
        str,
        Setting(
            "Serve HTTPS with this certificate chain (PEM).",
            metavar="FILE",
            default_means="off",
            restart="to switch",
            requires=("tls_key",),
            engines=("granian", "werkzeug"),
        ),
    ] = ""
    tls_key: Annotated[
        str,
        Setting(
            "Private key of --tls-cert (PEM, without a passphrase).",
            metavar="FILE",
            restart="to switch",
            requires=("tls_cert",),
            engines=("granian", "werkzeug"),
        ),
    ] = ""
    werkzeug_shutdown_hook: Annotated[
        bool,
        Setting("Add environ['werkzeug.server.shutdown'] to each request: a function that stops the server."),
    ] = False


FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}
"""Name, type and default of each setting."""

SETTINGS: Final[dict[str, Setting]] = {name: field.type.__metadata__[-1] for name, field in FIELDS.items()}
"""The other facts of each setting."""

PREFIX: Final = "FLASKD_"


def option(name: str) -> str:
    """Return the command-line option of a setting."""
    return f"--{name.replace('_', '-')}"


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def shown(value: Any) -> str:
    """Write a setting's value as the option, the environment and TOML have it."""
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def size(text: str) -> int:
    """Return the number of bytes that a setting such as 512M or 1G stands for: powers of 1024."""
    return int(text.rstrip("KMGT")) << 10 * (1 + "KMGT".find(text[-1]))


def worker_grace(settings: Settings) -> float:
    """Return the grace period, in seconds, of a worker that is replaced or removed."""
    return settings.worker_grace or settings.grace
