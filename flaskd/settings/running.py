"""The settings of what runs: the application, its workers, how they start, end and are replaced."""

from typing import Annotated

import msgspec
from msgspec import Meta

from flaskd.engines.choice import ENGINES
from flaskd.settings.setting import OWN_READERS, SIZE, Count, Function, Limit, Setting, one_of
from flaskd.settings.workers import PATTERN
from flaskd_ctl.protocol import Seconds


class RunningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first settings of `schema.Settings`. Durations are in seconds."""

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
            default_means="$RUNTIME_DIRECTORY, /run/flaskd if it is writable, $XDG_RUNTIME_DIR/flaskd, /tmp/flaskd-UID",
            restart="to change",
        ),
    ] = ""
    engine: Annotated[
        str,
        one_of(*ENGINES),
        Setting(
            "HTTP engine.",
            metavar=f"[{'|'.join(ENGINES)}]",
            default_means="granian if it is installed, else waitress",
        ),
    ] = "auto"
    workers: Annotated[
        str,
        Meta(pattern=PATTERN, description="a number from 1 to 999, a range such as 2..8, or auto"),
        Setting(
            "Number of worker processes. auto: as many as the machine or container has CPUs and memory for. MIN..MAX: as many "
            "as the load needs.",
            metavar="NUMBER|MIN..MAX|auto",
            workers_only=True,
            numeric=True,
            command="flaskd_ctl scale",
        ),
    ] = "1"
    scale_down_after: Annotated[
        Limit,
        Setting(
            "With --workers MIN..MAX, stop a worker when fewer would have been enough for this many seconds.",
            workers_only=True,
            live="supervisor",
        ),
    ] = 60.0
    scale_hold: Annotated[
        Limit,
        Setting(
            "With --workers MIN..MAX, keep a number that `flaskd_ctl scale` sets for this many seconds, unless it says --for.",
            workers_only=True,
            live="supervisor",
        ),
    ] = 600.0
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
    max_queue_time: Annotated[
        Seconds,
        Setting(
            "Answer 503 to a request that has waited this many seconds, before the application sees it.",
            default_means="off",
            requires=("ledger",),
            live="workers",
        ),
    ] = 0.0
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
            workers_only=True,
            live="supervisor",
        ),
    ] = 5.0
    worker_grace: Annotated[
        Seconds,
        Setting(
            "Like --grace, for a worker that a reload, a scale or a limit replaces or removes.",
            default_means="as --grace",
            workers_only=True,
        ),
    ] = 0.0
    start_timeout: Annotated[
        Limit,
        Setting(
            "Give a worker this many seconds to load the application.",
            workers_only=True,
            live="supervisor",
        ),
    ] = 60.0
    preload: Annotated[
        bool,
        Setting(
            "Load the application once, in a template process, and fork workers from it: they share its memory. Linux only.",
            workers_only=True,
        ),
    ] = False
    pre_fork: Annotated[
        Function,
        Setting(
            "In the template, call this function with the application before workers are forked.",
            metavar="MODULE:FUNCTION",
            workers_only=True,
            requires=("preload",),
        ),
    ] = ""
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
    hook_timeout: Annotated[
        Limit,
        Setting("Give --pre-fork, --post-load and --pre-stop this many seconds each.", workers_only=True),
    ] = 10.0
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
            workers_only=True,
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
