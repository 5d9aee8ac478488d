"""Families of options of uWSGI: a star stands for the rest of a name."""

from typing import Final

from flaskd.migrate.option import Option, Takes, elsewhere, missing, unneeded

MANY: Final = Takes.VALUES
PROXY: Final = "let the proxy in front do it (nginx, HAProxy)"
QUEUE: Final = "run a task queue (Celery, RQ) or a cron job of the host"
ALONE: Final = "each instance is a service of its own: one systemd template serves many (`flaskd systemd unit --template`)"
SANDBOX: Final = "the sandbox of the unit; `flaskd systemd unit` makes a hardened one"
OWN: Final = "flaskd does it by itself"

FAMILIES: Final = (
    Option("static-*", here=missing(PROXY)),
    Option("check-static", ("--check-static",), here=missing(PROXY)),
    Option("offload-threads", ("--offload-threads",), here=missing(PROXY)),
    Option("route*", here=missing(PROXY)),
    Option(
        "add-header",
        ("--add-header",),
        takes=MANY,
        here=missing("`@app.after_request` in the application, or the proxy"),
    ),
    Option("error-page-*", here=missing("`@app.errorhandler` in the application, or the proxy")),
    *(
        Option(name, here=missing(QUEUE))
        for name in ("spooler*", "mule*", "cron*", "unique-cron", "timer", "farm", "queue*")
    ),
    Option("cache*", here=missing("Redis or memcached, with Flask-Caching")),
    *(
        Option(name, here=missing("flaskd has neither; other services run beside it"))
        for name in ("sharedarea", "signal*", "locks", "rpc*")
    ),
    *(
        Option(
            name,
            here=elsewhere(
                "`post_load` and `pre_stop` in each worker; `ExecStartPre=`, `ExecStopPost=` in the unit"
            ),
        )
        for name in ("hook-*", "exec-*", "call-*", "after-request-hook")
    ),
    *(Option(name, here=elsewhere(ALONE)) for name in ("emperor-*", "vassal*", "zerg*", "zeus*", "legion*")),
    *(
        Option(name, here=unneeded("always so"))
        for name in ("http-keepalive", "http-auto-chunked", "http-chunked-input", "reuse-port")
    ),
    Option("gevent-*", here=missing("each request has a thread: flaskd refuses `monkey.patch_all()`")),
    Option("wait-for-*", here=elsewhere("`After=`, `Requires=` and `ExecStartPre=` in the unit")),
    Option("touch-*", here=elsewhere("a command at the end of the deployment")),
    *(
        Option(name, here=missing("`tls_cert` and `tls_key` are what can be chosen"))
        for name in ("ssl-*", "suwsgi-*")
    ),
    *(
        Option(name, here=elsewhere("the Python that flaskd is installed for"))
        for name in ("py-*", "pyargv", "python-*")
    ),
    *(
        Option(name, here=missing("one application in an instance"))
        for name in ("vhost*", "no-default-app", "max-apps")
    ),
    *(
        Option(name, here=missing(PROXY))
        for name in ("fastrouter*", "rawrouter*", "sslrouter*", "subscri*", "http-*", "https-*", "sni*")
    ),
    *(
        Option(name, here=missing("flaskd speaks HTTP only"))
        for name in ("fastcgi-*", "scgi-*", "raw-socket", "puwsgi-socket")
    ),
    Option("websocket*", here=elsewhere('`engine = "werkzeug"` has WebSockets')),
    *(
        Option(name, here=elsewhere("`flaskd_ctl metrics`, or `/metrics` at the address of `health`"))
        for name in ("metric*", "carbon*", "statsd*", "stats-*", "snmp*")
    ),
    Option("alarm*", here=elsewhere("`flaskd_ctl events`, or alerts of Prometheus on the metrics")),
    *(
        Option(name, here=elsewhere("configure `logging` in the application (page Logs)"))
        for name in ("log*", "req-logger", "threaded-logger", "rsyslog*")
    ),
    *(
        Option(name, here=elsewhere(SANDBOX))
        for name in (
            "chroot",
            "unshare*",
            "cgroup*",
            "ns-*",
            "setns*",
            "cap",
            "limit-nproc",
            "prio",
            "pivot*",
        )
    ),
    *(
        Option(name, here=unneeded(OWN))
        for name in (
            "harakiri-*",
            "lock-*",
            "reaper",
            "no-defer-accept",
            "tcp-nodelay",
            "so-*",
            "max-vars",
            "procname*",
            "thread*stack*",
            "min-worker-lifetime",
            "max-worker-lifetime-delta",
            "exit-on-reload",
            "post-buffering-*",
            "no-threads-wait",
        )
    ),
)
