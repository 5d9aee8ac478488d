"""Settings of gunicorn for logs, statistics and names."""

from typing import Final

from flaskd.migrate.gunicorn import conversions
from flaskd.migrate.option import Option, Takes, elsewhere, missing, to, unneeded

LOGGING: Final = 'configure `logging` in the application: `log_format = "json"` is for programs'
SYSLOG: Final = "under systemd the journal has the log, and forwards it; else read stdout with `logger`"
STATSD: Final = "Prometheus reads `/metrics` at the address of `health`; `flaskd_ctl stats` shows the numbers"

LOGS: Final = (
    Option(
        "accesslog",
        ("--access-logfile",),
        here=to("access_log access_log_file", "`combined`, or `json`", convert=conversions.access_log),
    ),
    Option(
        "disable_redirect_access_to_syslog",
        ("--disable-redirect-access-to-syslog",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded(SYSLOG),
    ),
    Option(
        "access_log_format",
        ("--access-logformat",),
        default='%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        here=to(
            "access_log",
            "the formats are fixed: `common`, `combined`, `json`",
            convert=conversions.access_log_format,
        ),
    ),
    Option(
        "errorlog",
        ("--error-logfile", "--log-file"),
        default="-",
        here=to("log_file", convert=conversions.error_log),
    ),
    Option("loglevel", ("--log-level",), default="info", here=to("log_level", convert=conversions.log_level)),
    Option(
        "capture_output",
        ("--capture-output",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("the log always has what workers print"),
    ),
    Option("logger_class", ("--logger-class",), default="gunicorn.glogging.Logger", here=missing(LOGGING)),
    Option("logconfig", ("--log-config",), here=missing(LOGGING)),
    Option("logconfig_dict", default={}, here=missing(LOGGING)),
    Option("logconfig_json", ("--log-config-json",), here=missing(LOGGING)),
    Option("syslog_addr", ("--log-syslog-to",), default="udp://localhost:514", here=missing(SYSLOG)),
    Option("syslog", ("--log-syslog",), default=False, takes=Takes.NOTHING, here=missing(SYSLOG)),
    Option("syslog_prefix", ("--log-syslog-prefix",), here=missing(SYSLOG)),
    Option("syslog_facility", ("--log-syslog-facility",), default="user", here=missing(SYSLOG)),
    Option(
        "enable_stdio_inheritance",
        ("-R", "--enable-stdio-inheritance"),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("the log always has what workers print"),
    ),
    Option("statsd_host", ("--statsd-host",), here=missing(STATSD)),
    Option("dogstatsd_tags", ("--dogstatsd-tags",), default="", here=missing(STATSD)),
    Option("statsd_prefix", ("--statsd-prefix",), default="", here=missing(STATSD)),
    Option(
        "enable_backlog_metric",
        ("--enable-backlog-metric",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("the metrics have the length of the queue"),
    ),
    Option("proc_name", ("-n", "--name"), here=to("name", "of the instance, not of its processes")),
    Option("default_proc_name", default="gunicorn", here=unneeded("gunicorn sets it by itself")),
    Option("pythonpath", ("--pythonpath",), here=elsewhere("PYTHONPATH in the environment")),
    Option(
        "paste",
        ("--paste", "--paster"),
        here=missing("write a module that makes the application, and name that"),
    ),
)
