"""Every setting of gunicorn, in the order of its documentation, and what it is here."""

from typing import Final

from flaskd.migrate import surroundings
from flaskd.migrate.gunicorn import conversions
from flaskd.migrate.gunicorn.hooks import DIRTY_HOOKS, HOOKS
from flaskd.migrate.gunicorn.logs import LOGS
from flaskd.migrate.gunicorn.protocols import OTHERS, TLS
from flaskd.migrate.option import Option, Takes, elsewhere, missing, to, unneeded, with_another

ASGI: Final = "flaskd serves WSGI applications only"
PRELOAD: Final = (
    "refused if the application has threads or connections, which a fork breaks: `flaskd check` names them"
)
DEVELOP: Final = "`flaskd dev` reloads when you save, and watches more files with `--watch`"

SERVING: Final = (
    Option(
        "config",
        ("-c", "--config"),
        default="./gunicorn.conf.py",
        here=unneeded("`flaskd migrate gunicorn` reads it"),
    ),
    Option("wsgi_app", here=to("app", "`shop` alone is `shop:application`", convert=conversions.application)),
    Option(
        "bind",
        ("-b", "--bind"),
        default=["127.0.0.1:8000"],
        takes=Takes.VALUES,
        always=True,
        here=to("bind", "sockets of systemd (`fd://`) need no setting", convert=conversions.bind),
    ),
    Option("backlog", ("--backlog",), default=2048, here=to("backlog")),
    Option(
        "workers",
        ("-w", "--workers"),
        default=1,
        always=True,
        here=to(
            "workers",
            "`auto` fits the machine or container, `1..8` follows the load. flaskd reads FLASKD_WORKERS, not WEB_CONCURRENCY",
        ),
    ),
    Option(
        "worker_class",
        ("-k", "--worker-class"),
        default="sync",
        here=to(
            "threads",
            "there is one class of workers, with threads. Classes for ASGI are refused",
            convert=conversions.worker_class,
        ),
    ),
    Option(
        "threads",
        ("--threads",),
        default=1,
        always=True,
        here=to(
            "threads", "1 for the sync worker, to change as little as possible", convert=conversions.threads
        ),
    ),
    Option(
        "worker_connections",
        ("--worker-connections",),
        default=1000,
        here=unneeded("a connection without a request holds no thread; `threads` limits the requests"),
    ),
    Option("max_requests", ("--max-requests",), default=0, here=to("max_requests")),
    Option("max_requests_jitter", ("--max-requests-jitter",), default=0, here=to("max_requests_jitter")),
    Option(
        "timeout",
        ("-t", "--timeout"),
        default=30,
        always=True,
        here=to(
            "worker_timeout",
            "for the sync worker. For others a comment, because `worker_timeout` also counts the age of a request",
            convert=conversions.timeout,
        ),
    ),
    Option("graceful_timeout", ("--graceful-timeout",), default=30, here=to("grace")),
    Option(
        "keepalive",
        ("--keep-alive",),
        default=2,
        here=to(
            "head_timeout",
            "if it is longer than 30 s: the same limit is for the head",
            convert=conversions.keepalive,
        ),
    ),
    *(
        Option(
            name,
            flags,
            default=default,
            here=to(
                "max_request_header_size",
                "one limit for request line and headers, if 64 KiB are too few",
                convert=conversions.header_limit,
            ),
        )
        for name, flags, default in (
            ("limit_request_line", ("--limit-request-line",), 4094),
            ("limit_request_field_size", ("--limit-request-field_size",), 8190),
        )
    ),
    Option(
        "limit_request_fields",
        ("--limit-request-fields",),
        default=100,
        here=missing("at most 100 headers, as by default"),
    ),
)

RUNNING: Final = (
    Option("reload", ("--reload",), default=False, takes=Takes.NOTHING, here=elsewhere(DEVELOP)),
    Option("reload_engine", ("--reload-engine",), default="auto", here=elsewhere(DEVELOP)),
    Option(
        "reload_extra_files",
        ("--reload-extra-file",),
        default=[],
        takes=Takes.VALUES,
        here=elsewhere(DEVELOP),
    ),
    Option(
        "spew",
        ("--spew",),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere("`flaskd_ctl profile` and `flaskd_ctl stacks` show what the application executes"),
    ),
    Option(
        "check_config",
        ("--check-config",),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere("`flaskd check`"),
    ),
    Option(
        "print_config",
        ("--print-config",),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere("`flaskd config`"),
    ),
    Option(
        "preload_app",
        ("--preload",),
        default=False,
        takes=Takes.NOTHING,
        here=to("preload", PRELOAD, convert=conversions.preload),
    ),
    Option(
        "sendfile", ("--no-sendfile",), default=True, takes=Takes.NOTHING, here=unneeded("the engine chooses")
    ),
    Option(
        "reuse_port",
        ("--reuse-port",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("all workers accept from one queue, so that none is lost when a worker ends"),
    ),
    Option(
        "chdir",
        ("--chdir",),
        here=elsewhere("start flaskd there, with flaskd.toml", convert=surroundings.directory),
    ),
    Option(
        "daemon",
        ("-D", "--daemon"),
        default=False,
        takes=Takes.NOTHING,
        here=elsewhere(
            "`flaskd start` serves in the background; for a service `flaskd systemd unit` makes a unit"
        ),
    ),
    Option(
        "raw_env",
        ("-e", "--env"),
        default=[],
        takes=Takes.VALUES,
        here=elsewhere("the environment in which flaskd is started", convert=surroundings.environment),
    ),
    Option(
        "pidfile",
        ("-p", "--pid"),
        here=unneeded("`flaskd_ctl` finds the instance by its name; `flaskd_ctl status --json` has the pid"),
    ),
    Option(
        "worker_tmp_dir",
        ("--worker-tmp-dir",),
        here=unneeded("no file is touched to show that a worker lives"),
    ),
    Option(
        "user",
        ("-u", "--user"),
        always=True,
        here=to(
            "worker_user",
            "only if flaskd is started as root, which gunicorn needs, too. `User=` in a unit is simpler",
            convert=conversions.user,
        ),
    ),
    Option("group", ("-g", "--group"), here=with_another("worker_user", "with `user`, as UID:GID")),
    Option(
        "umask", ("-m", "--umask"), default=0, here=elsewhere("`UMask=` in the unit, or `umask` in the shell")
    ),
    Option(
        "initgroups",
        ("--initgroups",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("`worker_user` has the groups of the user"),
    ),
    Option("tmp_upload_dir", here=elsewhere("TMPDIR in the environment")),
    Option(
        "secure_scheme_headers",
        default={"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"},
        here=elsewhere(
            "X-Forwarded-Proto is the header that `trusted_proxies` believes: let the proxy send it"
        ),
    ),
    Option(
        "forwarded_allow_ips",
        ("--forwarded-allow-ips",),
        default="127.0.0.1,::1",
        always=True,
        here=to(
            "trusted_proxies",
            "a number of proxies in place of their addresses",
            convert=conversions.forwarded,
        ),
    ),
)

OPTIONS: Final = (*SERVING, *RUNNING, *LOGS, *HOOKS, *TLS, *OTHERS, *DIRTY_HOOKS)
