"""The settings: each is declared once, here, with its type, bounds, default, help text and rules.

Command-line options, environment variables, TOML keys, `flaskd config`, docs/configuration.md and the checks are derived from
these declarations. msgspec checks types and bounds; in a type's `Meta`, `description` says what a value looks like.
"""

import os
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from flaskd.engines.choice import ENGINES, MAX_HEAD
from flaskd.ledger.access_log import FORMATS
from flaskd.logs.form import FORMATS as LOG_FORMATS
from flaskd.logs.handler import LEVELS
from flaskd_ctl.protocol import Seconds


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


def _one_of(*words: str) -> Meta:
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


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of an instance. Durations are in seconds."""

    app: Annotated[
        str,
        Setting(
            "The application to serve: module, module:attribute, module:factory() or a path.",
            metavar="APP",
            restart="to change",
        ),
    ] = ""
    bind: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="an address such as 127.0.0.1:8000, or a list of them"),
        Setting(
            "Serve HTTP on this address: HOST:PORT, [IPV6]:PORT or unix:/path. Port 0 takes a free port. May be repeated.",
            metavar="ADDRESS",
            restart="to change",
        ),
    ] = ("127.0.0.1:8000",)
    name: Annotated[
        str,
        Setting(
            "Name of the instance.",
            metavar="NAME",
            default_means="the application's name",
            restart="to change",
        ),
    ] = ""
    runtime_dir: Annotated[
        str,
        Setting(
            "Directory that holds the instances' directories.",
            metavar="DIR",
            default_means="/run/flaskd if it is writable, else $XDG_RUNTIME_DIR/flaskd",
            restart="to change",
        ),
    ] = ""
    engine: Annotated[
        str,
        _one_of(*ENGINES),
        Setting(
            "HTTP engine.",
            metavar=f"[{'|'.join(ENGINES)}]",
            default_means="granian if it is installed, else waitress",
        ),
    ] = "auto"
    workers: Annotated[
        str,
        Meta(pattern="^(auto|[1-9][0-9]{0,2})$", description="a number from 1 to 999, or auto"),
        Setting(
            "Number of worker processes; auto starts one for each CPU core.",
            metavar="NUMBER",
            workers_only=True,
            numeric=True,
            command="flaskd_ctl scale",
        ),
    ] = "1"
    worker_user: Annotated[
        str,
        Meta(pattern="^([^:]+|[0-9]+:[0-9]+)?$", description="the name of a user, a uid, or UID:GID"),
        Setting(
            "Run workers as this user, if flaskd runs as root: a name, a uid or UID:GID.",
            metavar="USER",
            default_means="the user that runs flaskd",
            workers_only=True,
        ),
    ] = ""
    threads: Annotated[
        int,
        Meta(ge=1, le=10_000),
        Setting(
            "Number of requests that each worker serves at the same time; others wait in a queue.",
            live="workers",
            live_engines=OWN_READERS,
        ),
    ] = 16
    backlog: Annotated[
        int,
        Meta(ge=1, le=65_535),
        Setting("Maximum number of connections that wait in the accept queue.", restart="to change"),
    ] = 2048
    grace: Annotated[
        Seconds,
        Setting(
            "Grace period: give requests this many seconds to finish when the instance stops.",
            live="workers",
        ),
    ] = 30.0
    linger: Annotated[
        Seconds,
        Setting(
            "With nothing in flight, a stop waits this many seconds before it closes connections without a request.",
            live="workers",
        ),
    ] = 0.5
    lame_duck: Annotated[
        Seconds,
        Setting(
            "Keep serving for this many seconds after readiness goes off, before a stop begins.",
            live="supervisor",
        ),
    ] = 0.0
    wait_unrouted: Annotated[
        Seconds,
        Setting(
            "Before a stop, keep serving with readiness off until no request has come for this many seconds; at most "
            "--lame-duck or 30 s.",
            default_means="off",
            requires=("ledger",),
            live="supervisor",
        ),
    ] = 0.0
    worker_linger: Annotated[
        Seconds,
        Setting(
            "Like --linger, for a worker that a reload, a scale or a limit replaces or removes.",
            live="supervisor",
        ),
    ] = 5.0
    start_timeout: Annotated[
        Limit,
        Setting(
            "Give a worker this many seconds to load the application.",
            live="supervisor",
        ),
    ] = 60.0
    post_load: Annotated[
        Function,
        Setting(
            "In each worker, call this function with the application before it serves.",
            metavar="MODULE:FUNCTION",
            workers_only=True,
        ),
    ] = ""
    pre_stop: Annotated[
        Function,
        Setting(
            "In each worker, call this function with the application after its last response.",
            metavar="MODULE:FUNCTION",
            workers_only=True,
        ),
    ] = ""
    hook_timeout: Annotated[Limit, Setting("Give --post-load and --pre-stop this many seconds each.")] = 10.0
    check: Annotated[
        str,
        Meta(pattern="^(/.*)?$", description="a path that begins with /"),
        Setting(
            "Request this path from a new worker before it accepts connections; it must answer with a status below 400.",
            metavar="PATH",
            workers_only=True,
        ),
    ] = ""
    max_requests: Annotated[
        Count,
        Setting(
            "Replace a worker after this many requests.",
            default_means="never",
            workers_only=True,
            requires=("ledger",),
            live="workers",
        ),
    ] = 0
    max_requests_jitter: Annotated[
        Count,
        Setting(
            "Add a random number up to this to each worker's --max-requests, to spread the replacements.",
            live="workers",
        ),
    ] = 0
    max_worker_age: Annotated[
        float,
        Meta(ge=0, le=31_536_000),
        Setting(
            "Replace a worker after this many seconds.",
            default_means="never",
            workers_only=True,
            live="supervisor",
        ),
    ] = 0.0
    max_worker_memory: Annotated[
        str,
        Meta(pattern="^(0|[1-9][0-9]{0,15}[KMGT]?)$", description=SIZE),
        Setting(
            "Replace a worker whose resident memory exceeds this size: bytes, or 512M, 1G.",
            metavar="SIZE",
            default_means="no limit",
            workers_only=True,
            numeric=True,
            live="supervisor",
        ),
    ] = "0"
    worker_timeout: Annotated[
        Seconds,
        Setting(
            "Kill and replace a worker that has not responded, or has had one request, for this many seconds.",
            default_means="never",
            workers_only=True,
            live="supervisor",
        ),
    ] = 0.0
    request_timeout: Annotated[
        Seconds,
        Setting(
            "Report a request as slow after this many seconds.",
            default_means="never",
            workers_only=True,
            requires=("ledger",),
            live="supervisor",
        ),
    ] = 0.0
    request_timeout_answer: Annotated[
        bool,
        Setting(
            "Answer a slow request with 503 if the application has not begun its response. Not with werkzeug.",
            workers_only=True,
            requires=("request_timeout",),
            engines=("waitress", "granian"),
        ),
    ] = False
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
        _one_of("viewer", "operator", "admin"),
        Setting(
            "Show the application's tracebacks to callers with this role or a higher one.",
            metavar="[viewer|operator|admin]",
        ),
    ] = "operator"
    ledger: Annotated[bool, Setting("Keep track of the requests in flight.")] = True
    access_log: Annotated[
        str,
        _one_of(*FORMATS),
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
        _one_of(*LEVELS),
        Setting(
            "Log records of this level and above, in the supervisor and in workers.",
            metavar=f"[{'|'.join(LEVELS)}]",
            workers_only=True,
        ),
    ] = "info"
    log_format: Annotated[
        str,
        _one_of(*LOG_FORMATS),
        Setting(
            "Write the log as text or as JSON, one object a line. See docs/logs.md.",
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
        Setting("Trust the X-Forwarded-* headers of this many reverse proxies in front."),
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
    return str(value).lower() if isinstance(value, bool) else str(value)


def size(text: str) -> int:
    """Return the number of bytes that a setting such as 512M or 1G stands for: powers of 1024."""
    return int(text.rstrip("KMGT")) << 10 * (1 + "KMGT".find(text[-1]))


def worker_count(settings: Settings) -> int:
    """Return the number of workers to start; "auto" is one for each core that we may use (sched_getaffinity(2))."""
    if settings.workers != "auto":
        return int(settings.workers)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
