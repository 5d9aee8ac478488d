"""Options of uWSGI for its surroundings and for those who operate it."""

from typing import Final

from flaskd.migrate import surroundings
from flaskd.migrate.option import Option, Takes, elsewhere, missing, to, unneeded, with_another
from flaskd.migrate.uwsgi import conversions

NOTHING: Final = Takes.NOTHING
MANY: Final = Takes.VALUES
DEPLOY: Final = "`flaskd_ctl reload` at the end of a deployment replaces the workers without losing a request"
LOGS: Final = "`flaskd_ctl logs --reopen` or SIGUSR1 after logrotate (page Logs)"
ALONE: Final = "each instance is a service of its own: one systemd template serves many (`flaskd systemd unit --template`)"

SURROUNDINGS: Final = (
    Option(
        "chdir",
        ("--chdir",),
        here=elsewhere("start flaskd there, with flaskd.toml", convert=surroundings.directory),
    ),
    Option(
        "env",
        ("--env",),
        takes=MANY,
        here=elsewhere("the environment in which flaskd is started", convert=surroundings.environment),
    ),
    Option(
        "pythonpath",
        ("--python-path", "--pp", "--pythonpath"),
        takes=MANY,
        here=elsewhere("PYTHONPATH in the environment"),
    ),
    Option(
        "virtualenv",
        ("-H", "--home", "--venv", "--pyhome", "--virtualenv"),
        here=elsewhere("install flaskd in it, and run its `bin/flaskd`", convert=conversions.virtualenv),
    ),
    Option(
        "uid",
        ("--uid",),
        always=True,
        here=to(
            "worker_user", "if root starts flaskd. `User=` in a unit is simpler", convert=conversions.user
        ),
    ),
    Option("gid", ("--gid",), here=with_another("worker_user", "with `uid`, as UID:GID")),
    Option("umask", ("--umask",), here=elsewhere("`UMask=` in the unit, or `umask` in the shell")),
    Option("max-fd", ("--max-fd",), here=unneeded("flaskd raises the limit of descriptors by itself")),
    Option(
        "daemonize",
        ("-d", "--daemonize", "--daemonize2"),
        here=to(
            "log_file",
            "`flaskd start` serves in the background; for a service `flaskd systemd unit` makes a unit",
            convert=conversions.log_file,
        ),
    ),
    Option(
        "pidfile",
        ("--safe-pidfile", "--pidfile2", "--pidfile"),
        here=unneeded("`flaskd_ctl` finds the instance by its name"),
    ),
    Option(
        "procname-prefix", ("--procname-prefix",), here=unneeded("`flaskd_ctl workers` has the processes")
    ),
    Option(
        "plugins",
        ("--plugin", "--plugins"),
        takes=MANY,
        here=unneeded("there are no plugins: this is Python"),
    ),
    Option("emperor", ("--emperor",), here=elsewhere(ALONE)),
    Option(
        "attach-daemon",
        ("--attach-daemon", "--smart-attach-daemon"),
        takes=MANY,
        here=elsewhere("a unit of its own"),
    ),
)

OPERATING: Final = (
    *(
        Option(name, (f"--{name}",), takes=MANY, here=elsewhere(DEPLOY))
        for name in ("touch-reload", "touch-workers-reload", "touch-chain-reload", "fs-reload")
    ),
    Option(
        "py-autoreload",
        ("--py-auto-reload", "--python-autoreload", "--py-autoreload"),
        default=0,
        here=elsewhere("`flaskd dev` reloads when you save"),
    ),
    Option(
        "stats",
        ("--stats-server", "--stats"),
        here=elsewhere(
            "`flaskd_ctl stats` and `status`, also as JSON; `/metrics` at the address of `health`",
            convert=conversions.stats,
        ),
    ),
    Option(
        "memory-report",
        ("-m", "--memory-report"),
        default=False,
        takes=NOTHING,
        here=elsewhere("`flaskd_ctl workers`"),
    ),
    Option(
        "master-fifo", ("--master-fifo",), takes=MANY, here=unneeded("`flaskd_ctl` commands the instance")
    ),
    Option(
        "disable-logging",
        ("-L", "--disable-logging"),
        default=False,
        takes=NOTHING,
        always=True,
        here=to("access_log", "`off`, flaskd's default; else `combined`", convert=conversions.access_log),
    ),
    Option("logto", ("--logto2", "--logto"), here=to("log_file", convert=conversions.log_file)),
    Option(
        "log-format",
        ("--logformat", "--log-format"),
        here=missing("the formats are fixed: `access_log` is `common`, `combined` or `json`"),
    ),
    Option("log-maxsize", ("--log-maxsize",), here=elsewhere(LOGS)),
    Option("touch-logreopen", ("--touch-logrotate", "--touch-logreopen"), takes=MANY, here=elsewhere(LOGS)),
    Option(
        "log-slow",
        ("--log-slow",),
        here=elsewhere("`request_timeout` reports slow requests; `flaskd_ctl slow` has the slowest"),
    ),
    Option(
        "log-x-forwarded-for",
        ("--log-x-forwarded-for",),
        default=False,
        takes=NOTHING,
        here=elsewhere("`trusted_proxies`"),
    ),
    *(
        Option(
            name,
            (f"--{name}",),
            default=False,
            takes=NOTHING,
            here=unneeded("a client that leaves is no error"),
        )
        for name in ("ignore-sigpipe", "ignore-write-errors", "disable-write-exception")
    ),
)
