"""The settings: declared once, here; options, environment names, TOML keys, help and `flaskd config` are derived.

A setting's value is the option's, else the environment's (FLASKD_<NAME>), else `flaskd.toml`'s or `[tool.flaskd]`'s in
pyproject.toml, both in the current directory, else the default. msgspec checks types and bounds, wherever the value is from.
"""

import os
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from flaskd.engines.choice import ENGINES, MAX_HEAD, choose
from flaskd.errors import ConfigError
from flaskd.ledger.access_log import FORMATS
from flaskd_ctl.protocol import Seconds

Grantee = Annotated[str, Meta(pattern="^(user|group|key):[^,:\\s]+$")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of an instance. Seconds are floats; the descriptions are the help texts."""

    app: Annotated[
        str, Meta(description="What to serve: module, module:attribute, module:factory() or a path.")
    ] = ""
    bind: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="Address to serve HTTP on: HOST:PORT, [IPV6]:PORT or unix:/path; port 0 lets the kernel choose.",
        ),
    ] = ("127.0.0.1:8000",)
    name: Annotated[str, Meta(description="Name of the instance; default from the application.")] = ""
    runtime_dir: Annotated[str, Meta(description="Directory that holds the instance's directory.")] = ""
    engine: Annotated[
        str,
        Meta(
            description="HTTP engine: waitress, granian, werkzeug, or auto: granian where installed, else waitress.",
            pattern=f"^({'|'.join(ENGINES)})$",
        ),
    ] = "auto"
    workers: Annotated[
        str,
        Meta(
            description="Worker processes: a number, or auto for one for each core.",
            pattern="^(auto|[1-9][0-9]{0,2})$",
        ),
    ] = "1"
    worker_user: Annotated[
        str,
        Meta(
            description="User that workers run as, where the supervisor is root: a name, a uid or UID:GID.",
            pattern="^([^:]+|[0-9]+:[0-9]+)?$",
        ),
    ] = ""
    threads: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Requests that each worker serves at once; the rest waits in the queue.",
        ),
    ] = 16
    backlog: Annotated[
        int, Meta(ge=1, le=65_535, description="Connections that may wait in the accept queue.")
    ] = 2048
    grace: Annotated[
        Seconds, Meta(description="Grace period: seconds a shutdown gives requests to finish.")
    ] = 30.0
    linger: Annotated[
        Seconds,
        Meta(
            description="Seconds a shutdown waits, with nothing in flight, for connections that sent no request."
        ),
    ] = 0.5
    lame_duck: Annotated[
        Seconds,
        Meta(
            description="Seconds that a stop, also by SIGTERM, first serves on with readiness off; 0: it does not."
        ),
    ] = 0.0
    wait_unrouted: Annotated[
        Seconds,
        Meta(
            description="The same, until no request came for so long; lame_duck, else 30 s, at most. 0: not looked at."
        ),
    ] = 0.0
    worker_linger: Annotated[
        Seconds,
        Meta(description="The same for a worker that others take over from: reload, scale, recycling."),
    ] = 5.0
    start_timeout: Annotated[
        float,
        Meta(gt=0, le=86_400, description="Seconds that a worker may take to load the application."),
    ] = 60.0
    post_load: Annotated[
        str,
        Meta(
            description="Function, module:function, that each worker calls with the application before it serves.",
            pattern="^([^:]+:[^:]+)?$",
        ),
    ] = ""
    pre_stop: Annotated[
        str,
        Meta(
            description="The same after its last response, before it ends.",
            pattern="^([^:]+:[^:]+)?$",
        ),
    ] = ""
    hook_timeout: Annotated[
        float, Meta(gt=0, le=86_400, description="Seconds that post_load and pre_stop may take, each.")
    ] = 10.0
    check: Annotated[
        str,
        Meta(
            description="Path that each new worker is asked for, in process, before it accepts anything.",
            pattern="^(/.*)?$",
        ),
    ] = ""
    max_requests: Annotated[
        int, Meta(ge=0, description="Requests after which a worker is replaced, new before old; 0: never.")
    ] = 0
    max_requests_jitter: Annotated[
        int, Meta(ge=0, description="Up to so many more, drawn for each worker, so that not all go at once.")
    ] = 0
    max_worker_age: Annotated[
        float,
        Meta(
            ge=0,
            le=31_536_000,
            description="Seconds after which a worker is replaced at the latest; 0: never.",
        ),
    ] = 0.0
    max_worker_memory: Annotated[
        str,
        Meta(
            description="Resident memory of a worker above which it is replaced: bytes, or 512M, 1G; 0: any.",
            pattern="^(0|[1-9][0-9]{0,15}[KMGT]?)$",
        ),
    ] = "0"
    worker_timeout: Annotated[
        Seconds,
        Meta(
            description="Seconds after which a silent worker, or one with so old a request, is killed; 0: never."
        ),
    ] = 0.0
    request_timeout: Annotated[
        Seconds, Meta(description="Seconds after which a request is told as slow; 0: never.")
    ] = 0.0
    request_timeout_answer: Annotated[
        bool,
        Meta(
            description="Answer 503 then, where the application has not begun to answer; not with werkzeug."
        ),
    ] = False
    head_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds that a client may take to send the head of a request, and the pause before it.",
        ),
    ] = 30.0
    body_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds that a client may take to send a body, and one more for each 500 bytes.",
        ),
    ] = 30.0
    write_timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds that a client may leave a response unread before its connection is closed.",
        ),
    ] = 60.0
    max_request_header_size: Annotated[
        int,
        Meta(
            ge=8192,
            le=1_048_576,
            description="Bytes that a request line and its headers may have; more is answered 431.",
        ),
    ] = MAX_HEAD
    max_request_body_size: Annotated[
        int, Meta(ge=0, description="Bytes that a request's body may have, 0: any; more is answered 413.")
    ] = 0
    max_spool_size: Annotated[
        str,
        Meta(
            description="Space that request bodies may take until they are answered, for all workers: 512M, 1G; waitress only.",
            pattern="^[1-9][0-9]{0,15}[KMGT]?$",
        ),
    ] = "1G"
    health: Annotated[
        str,
        Meta(
            description="HOST:PORT for probes: /livez and /readyz, answered by the supervisor.",
            pattern="^([^/]*:[0-9]{1,5})?$",
        ),
    ] = ""
    agent: Annotated[
        str,
        Meta(
            description="HOST:PORT for HAProxy's agent-check: state, and weight by busyness.",
            pattern="^([^/]*:[0-9]{1,5})?$",
        ),
    ] = ""
    control: Annotated[bool, Meta(description="Open the control socket.")] = True
    control_endpoints: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^tcp://[^/]+:[0-9]{1,5}$")], ...],
        Meta(
            description="tcp://HOST:PORT to be operated from other hosts, with CURVE keys; see docs/other-hosts.md."
        ),
    ] = ()
    curve_key: Annotated[
        str, Meta(description="The instance's own secret key file, for tcp:// endpoints.")
    ] = ""
    authorized_keys: Annotated[
        str, Meta(description="Directory with the public keys that tcp:// endpoints let in: NAME.key.")
    ] = ""
    viewers: Annotated[
        tuple[Grantee, ...],
        Meta(
            description="Who may look, beside the owner and root: user:NAME, group:NAME or key:NAME; see docs/access.md."
        ),
    ] = ()
    operators: Annotated[
        tuple[Grantee, ...], Meta(description="Who may operate the instance, too: drain, reload, shutdown …")
    ] = ()
    admins: Annotated[
        tuple[Grantee, ...], Meta(description="Who may do everything that the owner and root may.")
    ] = ()
    ledger: Annotated[bool, Meta(description="Keep the ledger of requests in flight.")] = True
    access_log: Annotated[
        str,
        Meta(
            description="Write a line for each request to stdout: off, common or json.",
            pattern=f"^({'|'.join(FORMATS)})$",
        ),
    ] = "off"
    audit_log: Annotated[
        str,
        Meta(
            description="File to write who asked for which change to: a path, or off; default in the state directory."
        ),
    ] = ""
    trusted_proxies: Annotated[
        int,
        Meta(ge=0, le=100, description="Reverse proxies in front, whose X-Forwarded-* headers are believed."),
    ] = 0
    tls_cert: Annotated[str, Meta(description="PEM file with the certificate chain: serve HTTPS.")] = ""
    tls_key: Annotated[
        str, Meta(description="PEM file with the certificate's key, without a passphrase.")
    ] = ""
    werkzeug_shutdown_hook: Annotated[
        bool,
        Meta(
            description="Give requests environ['werkzeug.server.shutdown'], which stops the server when called."
        ),
    ] = False


FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Settings)}
PREFIX: Final = "FLASKD_"
NUMBERS_AS_TEXT: Final = {"workers", "max_worker_memory", "max_spool_size"}
"""Texts that TOML and Python may give as numbers."""

GRANTEES: Final = "user:NAME, group:NAME or key:NAME"

WANTED: Final = {
    "workers": "a number from 1 to 999, or auto",
    "check": "a path that begins with /",
    "control_endpoints": "tcp://HOST:PORT; ipc and unix endpoints are always there",
    "worker_user": "the name of a user, a uid, or UID:GID",
    "viewers": GRANTEES,
    "operators": GRANTEES,
    "admins": GRANTEES,
    "post_load": "module:function",
    "pre_stop": "module:function",
    "health": "host and port: 127.0.0.1:8081",
    "agent": "host and port: 127.0.0.1:8082",
    "max_worker_memory": "a number of bytes, or of KiB, MiB, GiB or TiB: 512M, 1G",
    "max_spool_size": "a number of bytes, or of KiB, MiB, GiB or TiB: 512M, 1G",
}
"""What a setting's pattern means."""

KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "array": "an address such as 127.0.0.1:8000, or a list of them",
}
"""What msgspec calls the types, and what people do."""


class Provenance(NamedTuple):
    """Where a setting's value came from, as people write it: `--grace`, `FLASKD_GRACE`, `flaskd.toml`, `default`."""

    value: Any
    source: str


def resolve(
    options: Mapping[str, Any], *, environ: Mapping[str, str], directory: str, file: str | None = None
) -> dict[str, Provenance]:
    """Find each setting's value and source; raise ConfigError for a key that is no setting or a value it cannot have.

    `options` holds what the command line gave. `file` is a TOML file to read in place of those in `directory`.
    """
    tables = _tables(directory, file)
    found = {}
    for name, field in FIELDS.items():
        variable = PREFIX + name.upper()
        if options.get(name) not in (None, ()):
            value, source = options[name], f"--{name.replace('_', '-')}"
        elif environ.get(variable):
            value, source = environ[variable], variable
        else:
            value, source = next(
                ((table[name], path) for path, table in tables if name in table), (field.default, "default")
            )
        found[name] = Provenance(check(name, value, source), source)
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """List the FLASKD_ variables that are no setting: passed over, since they may be another program's, but likely misspelt."""
    return sorted(
        variable
        for variable in environ
        if variable.startswith(PREFIX) and variable[len(PREFIX) :].lower() not in FIELDS
    )


def settings_from(found: Mapping[str, Provenance]) -> Settings:
    """Make the settings from what `resolve` found."""
    return check_together(Settings(**{name: provenance.value for name, provenance in found.items()}))


NEED_LEDGER: Final = ("max_requests", "request_timeout", "wait_unrouted")


FOR_WORKERS: Final = (
    "workers",
    "worker_user",
    "check",
    "max_requests",
    "max_worker_age",
    "max_worker_memory",
    "worker_timeout",
    "request_timeout",
    "request_timeout_answer",
    "post_load",
    "pre_stop",
    "health",
    "agent",
)
"""Settings that mean nothing where an application is served by one process."""


def check_together(settings: Settings) -> Settings:
    """Return `settings` if they go together, else raise ConfigError."""
    for name in NEED_LEDGER:
        if getattr(settings, name) and not settings.ledger:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} needs the ledger", hint=f"leave out --no-ledger, or {option}")
    if settings.control_endpoints:
        missing = [name for name in ("curve_key", "authorized_keys") if not getattr(settings, name)]
        if missing or not settings.control:
            raise ConfigError(
                "tcp:// endpoints are for those who prove a key, also on loopback: "
                + (f"{' and '.join(missing)} not set" if missing else "and the control socket is off"),
                hint="make keys with `flaskd keygen`, then give --curve-key FILE and --authorized-keys DIRECTORY"
                if missing
                else "leave out --no-control, or --control-endpoints",
            )
    if settings.access_log != "off" and not settings.ledger:
        raise ConfigError("the access log needs the ledger", hint="leave out --no-ledger, or --access-log")
    if settings.max_worker_memory != "0" and not os.path.exists("/proc/self/statm"):
        raise ConfigError(
            "--max-worker-memory needs Linux's /proc, where memory is looked at", hint="leave it out"
        )
    engine = choose(settings.engine, tls=bool(settings.tls_cert))
    if settings.request_timeout_answer:
        if not settings.request_timeout:
            raise ConfigError(
                "--request-timeout-answer needs a time after which to answer", hint="give --request-timeout"
            )
        if engine.name == "werkzeug":
            raise ConfigError(
                f"the werkzeug engine cannot answer in the application's place, and this is it: {engine.why}",
                hint="choose --engine waitress or granian, or leave out --request-timeout-answer",
            )
    if settings.tls_cert and engine.name == "waitress":
        raise ConfigError(
            "the waitress engine has no HTTPS",
            hint="choose --engine granian or werkzeug, or let a proxy in front speak HTTPS",
        )
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError("TLS needs both a certificate and its key", hint="give --tls-cert and --tls-key")
    return settings


def check_alone(settings: Settings) -> Settings:
    """Return `settings` if one process without a supervisor can keep to them, else raise ConfigError."""
    for name in FOR_WORKERS:
        if getattr(settings, name) != FIELDS[name].default:
            raise ConfigError(
                f"{name} is for workers, and this serves in one process",
                hint="leave it out, or use `flaskd run`",
            )
    return check_together(settings)


def check(name: str, value: Any, source: str) -> Any:
    """Return `value` as the setting's type; raise ConfigError naming the setting, the value and its source."""
    if name not in FIELDS:
        known = ", ".join(FIELDS)
        raise ConfigError(f"{source}: there is no setting {name!r}", hint=f"the settings are {known}")
    if isinstance(FIELDS[name].default, tuple) and isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if name in NUMBERS_AS_TEXT and type(value) is int:
        value = str(value)
    try:
        return msgspec.convert(value, FIELDS[name].type, strict=False)
    except msgspec.ValidationError as error:
        said = ", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
        raise ConfigError(f"{source}: {name} cannot be {said}: {_wanted(name, str(error))}") from None


def size(text: str) -> int:
    """Return the bytes that a setting such as 512M or 1G stands for: powers of 1024."""
    return int(text.rstrip("KMGT")) << 10 * (1 + "KMGT".find(text[-1]))


def worker_count(settings: Settings) -> int:
    """Return how many workers are wanted; "auto" is one for each core that we may use (sched_getaffinity(2))."""
    if settings.workers != "auto":
        return int(settings.workers)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _wanted(name: str, said: str) -> str:
    """Say in a person's words what msgspec expects, bounds included."""
    if name in WANTED:
        return f"expected {WANTED[name]}"
    pattern = FIELDS[name].type.__metadata__[-1].pattern
    if pattern and "regex" in said:
        return f"expected {pattern.strip('^()$').replace('|', ' or ')}"
    words = said.partition(" - at")[0].replace("Expected", "expected", 1).partition(", got")[0]
    for kind, meant in KINDS.items():
        words = words.replace(f"`{kind}`", meant)
    return words.replace(" of length >= 1", "")


def _tables(directory: str, file: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Read the TOML tables that hold settings, with the names people know them by; keys may be written with hyphens."""
    if file is not None and not os.path.isfile(os.path.join(directory, file)):
        raise ConfigError(f"there is no configuration file {file}")
    read = []
    for name in [file] if file else ["flaskd.toml", "pyproject.toml"]:
        path = os.path.join(directory, name)
        if not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as opened:
                table = tomllib.load(opened)
        except (OSError, ValueError) as error:  # no TOML, or no UTF-8
            raise ConfigError(f"cannot read {name}: {error}") from None
        if os.path.basename(name) == "pyproject.toml":
            tools = table.get("tool")
            table, name = (
                (tools.get("flaskd", {}) if isinstance(tools, dict) else {}),
                f"{name} [tool.flaskd]",
            )
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{name} is no table of settings", hint="write threads = 8 below [tool.flaskd]"
                )
        elif isinstance(table.get("tool", table.get("flaskd")), dict):
            raise ConfigError(
                f"{name} has its settings in a table",
                hint="write them at the top: [tool.flaskd] is for pyproject.toml",
            )
        keys = {key.replace("-", "_"): value for key, value in table.items()}
        for key in keys.keys() - FIELDS.keys():
            check(key, keys[key], name)  # raises: no such setting
        read.append((name, keys))
    return read
