"""Kinds of configurations of other servers that public projects ship, written anew; each serves `shop.py` below."""

from typing import Final, NamedTuple

APP: Final = """
import os
import flask

def create_app(kind="factory"):
    app = flask.Flask(__name__)

    @app.get("/")
    def index():
        return {"kind": kind, "scheme": flask.request.scheme, "color": os.environ.get("COLOR", "")}

    return app

app = application = create_app("plain")
"""


class Kind(NamedTuple):
    """A configuration: the server's arguments, its files and environment; then what flaskd makes of it.

    `settings` are among the printed ones, `said` are words beside them. `directory` is where flaskd is started.
    """

    server: str
    words: tuple[str, ...]
    settings: dict[str, object]
    said: tuple[str, ...] = ()
    files: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    environ: dict[str, str] = {}  # noqa: RUF012
    answer: str = "plain"
    directory: str = ""


KINDS: Final = {
    "a Procfile": Kind(
        "gunicorn",
        ("shop:app", "--log-file", "-"),
        {"workers": 2, "bind": "0.0.0.0:5000"},
        environ={"PORT": "5000", "WEB_CONCURRENCY": "2"},
    ),
    "a Dockerfile's CMD": Kind(
        "gunicorn",
        (
            "--bind",
            "127.0.0.1:0",
            "-w",
            "2",
            "--access-logfile",
            "-",
            "--error-logfile=-",
            "shop:create_app()",
        ),
        {"access_log": "combined", "workers": 2},
        answer="factory",
    ),
    "a unit behind nginx": Kind(
        "gunicorn",
        ("--workers", "3", "--bind", "unix:shop.sock", "-m", "007", "shop:app"),
        {"workers": 3, "bind": "unix:shop.sock"},
        ("elsewhere: umask (--umask): `UMask=`",),
    ),
    "a formula, hooks and a check of the environment": Kind(
        "gunicorn",
        ("shop:app", "-c", "config/gunicorn.py"),
        {"threads": 4, "max_requests": 500, "max_requests_jitter": 20, "grace": 25, "access_log": "combined"},
        (
            "elsewhere: post_fork (config/gunicorn.py, line 17)",
            "not needed: worker_tmp_dir",
            "elsewhere: on_starting",
        ),
        files={
            "config/gunicorn.py": """
import multiprocessing
import os

bind = os.getenv("APP_BIND", "127.0.0.1:0")
workers = int(os.getenv("APP_WORKERS", min(2, multiprocessing.cpu_count() * 2 + 1)))
threads = 4
worker_tmp_dir = "/dev/shm"
max_requests, max_requests_jitter = 500, 20
graceful_timeout = 25
accesslog = "-"

def on_starting(server):
    server.log.info("starting")


def post_fork(server, worker):
    server.log.info("worker %s", worker.pid)
"""
        },
    ),
    "behind a balancer": Kind(
        "gunicorn",
        ("shop:app",),
        {"threads": 8, "head_timeout": 75, "trusted_proxies": 1, "workers": 2, "preload": True},
        ("different: forwarded_allow_ips", "different: timeout", "different: preload_app"),
        files={
            "gunicorn.conf.py": """
bind = "127.0.0.1:0"
workers = 2
worker_class = "gthread"
threads = 8
timeout = 120
keepalive = 75
forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
preload_app = True
"""
        },
    ),
    "gevent": Kind(
        "gunicorn",
        ("-c", "gunicorn_config.py", "shop:app"),
        {"threads": 64, "backlog": 4096},
        ("different: worker_class (gunicorn_config.py, line 3)",),
        files={
            "gunicorn_config.py": "bind = ['127.0.0.1:0', 'unix:shop.sock']\nbacklog = 4096\nworker_class = 'gevent'\n"
            "worker_connections = 2000\n"
        },
    ),
    "every setting of the documentation's example": Kind(
        "gunicorn",
        ("shop:app",),
        {"workers": 1, "threads": 1, "worker_timeout": 30, "log_level": "info", "backlog": 2048},
        ("no equivalent: pre_exec", "elsewhere: when_ready", "elsewhere: worker_int"),
        files={
            "gunicorn.conf.py": """
bind = '127.0.0.1:0'
backlog = 2048
workers = 1
worker_class = 'sync'
worker_connections = 1000
timeout = 30
keepalive = 2
spew = False
daemon = False
raw_env = []
pidfile = None
umask = 0
user = None
group = None
tmp_upload_dir = None
errorlog = '-'
loglevel = 'info'
accesslog = None
proc_name = None

def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)

def pre_fork(server, worker):
    pass

def pre_exec(server):
    server.log.info("Forked child, re-executing.")

def when_ready(server):
    server.log.info("Server is ready. Spawning workers")

def worker_int(worker):
    import threading, sys, traceback
    worker.log.info("worker received INT or QUIT signal")
"""
        },
    ),
    "logging and statistics": Kind(
        "gunicorn",
        ("shop:app", "--bind=127.0.0.1:0"),
        {"log_level": "warning", "name": "shop-api"},
        (
            "no equivalent: statsd_host",
            "no equivalent: logconfig_dict",
            "no equivalent: logger_class",
            "elsewhere: pythonpath",
        ),
        files={
            "gunicorn.conf.py": """
import logging

class Quiet(logging.Logger):
    pass

logger_class = Quiet
loglevel = "WARNING"
logconfig_dict = {"version": 1, "handlers": {"console": {"class": "logging.StreamHandler", "level": logging.INFO}}}
statsd_host = "localhost:8125"
statsd_prefix = "shop"
proc_name = "shop-api"
pythonpath = "."
"""
        },
    ),
    "GUNICORN_CMD_ARGS in a compose file": Kind(
        "gunicorn",
        ("shop:create_app('compose')",),
        {"workers": 2, "threads": 2},
        environ={"GUNICORN_CMD_ARGS": "--bind=127.0.0.1:0 --workers=2 --threads=2 --worker-tmp-dir=/dev/shm"},
        answer="compose",
    ),
    "chdir and variables": Kind(
        "gunicorn",
        ("-c", "gunicorn.conf.py"),
        {"app": "shop:application"},
        ("start flaskd in src", "set COLOR where flaskd is started"),
        files={
            "gunicorn.conf.py": "bind = '127.0.0.1:0'\nchdir = 'src'\nwsgi_app = 'shop'\nraw_env = ['COLOR=red']\n",
            "src/shop.py": APP,
        },
        directory="src",
    ),
    "TLS": Kind(
        "gunicorn",
        (
            "shop:app",
            "--certfile",
            "cert.pem",
            "--keyfile",
            "key.pem",
            "-b",
            "127.0.0.1:0",
            "--ciphers",
            "HIGH",
        ),
        {"tls_cert": "cert.pem", "tls_key": "key.pem"},
        ("no equivalent: ciphers",),
    ),
    "uWSGI behind nginx": Kind(
        "uwsgi",
        ("shop.ini",),
        {"workers": 2, "threads": 1, "access_log": "combined"},
        ("different: socket", "elsewhere: chmod-socket", "not needed: vacuum"),
        files={
            "shop.ini": "[uwsgi]\nmodule = shop:app\n\nmaster = true\nprocesses = 2\n\nsocket = shop.sock\nchmod-socket = 660\n"
            "vacuum = true\n\ndie-on-term = true\n"
        },
    ),
    "uWSGI with HTTP of its own": Kind(
        "uwsgi",
        ("uwsgi.ini",),
        {
            "app": "shop.py:app",
            "threads": 2,
            "worker_timeout": 60,
            "max_worker_memory": "1024M",
            "max_requests": 1000,
        },
        ("elsewhere: stats", "elsewhere: touch-reload"),
        files={
            "uwsgi.ini": """
; placeholders, as in many projects
[uwsgi]
name = shop
http-socket = 127.0.0.1:0
wsgi-file = %(name).py
callable = app
single-interpreter = true
enable-threads = true
threads = 2
harakiri = 60
max-requests = 1000
reload-on-rss = 1024
touch-reload = %d%(name).py
stats = %d%n.stats
disable-logging = true
lazy-apps = true
buffer-size = 65535
"""
        },
    ),
    "uWSGI in a container": Kind(
        "uwsgi",
        ("--ini", "uwsgi.ini", "--http", "127.0.0.1:0"),
        {"workers": "2..4", "grace": 20, "app": "shop:create_app()"},
        (
            "no equivalent: static-map",
            "elsewhere: hook-master-start",
            "no equivalent: mule",
        ),
        files={
            "base.ini": "[uwsgi]\nmaster = true\nneed-app = true\n"
            "hook-master-start = unix_signal:15 gracefully_kill_them_all\n",
            "uwsgi.ini": "[uwsgi]\nini = base.ini\nmodule = shop:create_app()\nprocesses = 4\n"
            "cheaper = 2\nworker-reload-mercy = 20\n"
            "static-map = /static=static\nmule = jobs.py\npy-autoreload = 0\n",
        },
        answer="factory",
    ),
    "waitress-serve": Kind(
        "waitress",
        ("--listen=127.0.0.1:0", "--threads=6", "--trusted-proxy=127.0.0.1", "--call", "shop:create_app"),
        {"engine": "waitress", "threads": 6, "trusted_proxies": 1},
        answer="factory",
    ),
    "waitress-serve behind nginx": Kind(
        "waitress",
        ("--unix-socket=shop.sock", "--url-scheme=https", "shop:app"),
        {"engine": "waitress", "threads": 4},
        ("elsewhere: url_scheme",),
    ),
    "flask run": Kind(
        "flask-run",
        ("--app", "shop:create_app('flask')", "run", "--port", "0", "--debug"),
        {"bind": "127.0.0.1:0"},
        ("elsewhere: debug",),
        answer="flask",
    ),
}
"""The kinds, by what they are."""
