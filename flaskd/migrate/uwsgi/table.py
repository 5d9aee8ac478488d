"""The options of uWSGI 2.0 that configurations of Python applications have, and what they are here.

uWSGI has about a thousand. Where a name with a star stands for a family, an option's own row comes first.
"""

from typing import Final

from flaskd.migrate.option import (
    Option,
    Takes,
    elsewhere,
    missing,
    number,
    seconds,
    to,
    unneeded,
    with_another,
)
from flaskd.migrate.uwsgi import conversions
from flaskd.migrate.uwsgi.families import FAMILIES
from flaskd.migrate.uwsgi.operating import OPERATING, SURROUNDINGS

NOTHING: Final = Takes.NOTHING
MANY: Final = Takes.VALUES

SERVING: Final = (
    Option("http", ("--http",), takes=MANY, here=to("bind", convert=conversions.sockets("http"))),
    Option(
        "http-socket",
        ("--http-socket", "--http11-socket"),
        takes=MANY,
        here=to("bind", convert=conversions.sockets("http-socket")),
    ),
    Option(
        "socket",
        ("-s", "--uwsgi-socket", "--socket"),
        takes=MANY,
        here=to(
            "bind",
            "speaks HTTP, not uWSGI's protocol: `proxy_pass` in place of `uwsgi_pass` in nginx",
            convert=conversions.sockets("socket"),
        ),
    ),
    Option(
        "https",
        ("--https", "--https-socket"),
        takes=MANY,
        here=to("bind tls_cert tls_key", convert=conversions.https),
    ),
    Option("protocol", ("--protocol", "--socket-protocol"), here=missing("flaskd speaks HTTP only")),
    Option("module", ("-w", "--wsgi", "--module"), here=to("app", convert=conversions.application)),
    Option("wsgi-file", ("--file", "--wsgi-file"), here=to("app", "a path", convert=conversions.application)),
    Option("callable", ("--callable",), here=with_another("app", "after the colon")),
    Option(
        "mount",
        ("--mount", "--worker-mount"),
        takes=MANY,
        here=missing("one application in an instance: combine several with Werkzeug's DispatcherMiddleware"),
    ),
    Option(
        "manage-script-name",
        ("--manage-script-name",),
        default=False,
        takes=NOTHING,
        here=elsewhere("X-Forwarded-Prefix from the proxy, with `trusted_proxies`, sets SCRIPT_NAME"),
    ),
    Option("listen", ("-l", "--listen"), default=100, here=to("backlog")),
    Option(
        "buffer-size",
        ("-b", "--buffer-size"),
        default=4096,
        here=to("max_request_header_size", "if 64 KiB are too few", convert=conversions.request_limit),
    ),
    Option(
        "limit-post",
        ("--limit-post",),
        default=0,
        here=to("max_request_body_size", convert=number("max_request_body_size")),
    ),
    Option(
        "post-buffering",
        ("--post-buffering",),
        default=0,
        here=elsewhere("`engine`: waitress stores a body before it calls the application"),
    ),
    Option(
        "socket-timeout",
        ("-z", "--socket-timeout", "--http-timeout"),
        default=4,
        here=elsewhere("`head_timeout`, `body_timeout` and `write_timeout` limit slow clients"),
    ),
    Option(
        "chmod-socket",
        ("-C", "--chmod", "--chmod-socket"),
        here=elsewhere("`UMask=` in the unit, or a socket that systemd opens (`SocketMode=`)"),
    ),
    Option(
        "chown-socket",
        ("--chown-socket",),
        here=elsewhere("a socket that systemd opens (`SocketUser=`, `SocketGroup=`)"),
    ),
)

PROCESSES: Final = (
    Option(
        "processes",
        ("-p", "--workers", "--processes"),
        default=1,
        always=True,
        here=to("workers", convert=conversions.workers),
    ),
    Option(
        "threads",
        ("--threads",),
        default=1,
        always=True,
        here=to(
            "threads", "1 without `threads`, to change as little as possible", convert=conversions.threads
        ),
    ),
    Option("gevent", ("--gevent",), default=0, here=to("threads", convert=conversions.greenlets)),
    Option("async", ("--async", "--asyncio"), default=0, here=missing("a request has a thread")),
    *(
        Option(name, flags, default=False, takes=NOTHING, here=unneeded(text))
        for name, flags, text in (
            ("master", ("-M", "--master"), "there is always a supervisor"),
            ("lazy-apps", ("--lazy", "--lazy-apps"), "each worker loads the application itself"),
            ("enable-threads", ("-T", "--enable-threads"), "always so"),
            ("single-interpreter", ("-i", "--single-interpreter"), "always so"),
            ("need-app", ("--need-app",), "always so: a start without the application fails"),
            ("die-on-term", ("--die-on-term",), "always so: SIGTERM stops, and loses no request"),
            ("vacuum", ("--vacuum",), "always so: flaskd removes its sockets"),
            ("no-orphans", ("--no-orphans",), "always so: workers end after their supervisor"),
            ("thunder-lock", ("--thunder-lock",), "workers share one queue in the kernel"),
            ("strict", ("--strict",), "always so: an unknown setting is an error"),
            ("auto-procname", ("--auto-procname",), "`flaskd_ctl workers` has the processes"),
            ("skip-atexit", ("--skip-atexit",), "atexit functions run when a worker ends"),
        )
    ),
    Option(
        "harakiri",
        ("-t", "--harakiri"),
        default=0,
        here=to("worker_timeout", convert=seconds("worker_timeout")),
    ),
    Option("max-requests", ("-R", "--max-requests"), default=0, here=to("max_requests")),
    Option(
        "max-requests-delta",
        ("--max-requests-delta",),
        default=0,
        here=to("max_requests_jitter", "a random number up to it"),
    ),
    Option(
        "max-worker-lifetime",
        ("--max-worker-lifetime",),
        default=0,
        here=to("max_worker_age", convert=seconds("max_worker_age")),
    ),
    Option(
        "reload-on-rss",
        ("--evil-reload-on-rss", "--reload-on-rss"),
        default=0,
        here=to("max_worker_memory", "in MiB", convert=conversions.mebibytes("max_worker_memory")),
    ),
    Option(
        "reload-on-as",
        ("--evil-reload-on-as", "--reload-on-as"),
        here=missing("`max_worker_memory` counts resident memory"),
    ),
    Option("limit-as", ("--limit-as",), here=elsewhere("`MemoryMax=` in the unit")),
    Option(
        "reload-mercy",
        ("--reload-mercy", "--worker-reload-mercy"),
        default=60,
        here=to("grace", "for a stop and a reload", convert=seconds("grace")),
    ),
    Option("cheaper", ("--cheaper",), default=0, here=with_another("workers", 'a range: `workers = "2..8"`')),
    Option(
        "cheaper-*",
        here=unneeded(
            "flaskd starts workers by queue and busy threads, and stops them after `scale_down_after`"
        ),
    ),
    Option("cpu-affinity", ("--cpu-affinity",), here=elsewhere("`CPUAffinity=` in the unit")),
    Option("idle", ("--idle",), here=unneeded("an idle instance uses no CPU")),
)

OPTIONS: Final = (*SERVING, *PROCESSES, *SURROUNDINGS, *OPERATING, *FAMILIES)
