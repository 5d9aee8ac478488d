"""Files as they should be, and what to change in them so that one rule has something to say."""

from typing import Final, NamedTuple

UNIT: Final = """\
[Service]
Type=notify
ExecStart=/srv/shop/.venv/bin/flaskd run shop:app --name %N --grace 30
ExecStop=/srv/shop/.venv/bin/flaskd_ctl --name %N shutdown --missing-ok
ExecReload=/srv/shop/.venv/bin/flaskd_ctl --name %N reload
TimeoutStopSec=45
"""

SIGNALLED: Final = """\
[Service]
Type=notify
KillMode=mixed
ExecStart=/srv/shop/.venv/bin/flaskd run shop:app --grace 30
TimeoutStopSec=45
"""

MAX_UNREAD: Final = """\
[Unit]
Requires=shop.socket

[Service]
Type=exec
KillMode=mixed
ExecStart=/srv/shop/.venv/bin/flaskd run shop:app --grace 30
TimeoutStopSec=45
"""

POD: Final = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
spec:
  replicas: 3
  strategy:
    rollingUpdate:
      maxUnavailable: 0
  template:
    spec:
      terminationGracePeriodSeconds: 60
      containers:
        - name: shop
          command: [flaskd, run, shop:app, --grace, "30", --health, "0.0.0.0:8081"]
          resources: {limits: {cpu: 1500m, memory: 512Mi}}
          ports:
            - name: health
              containerPort: 8081
          lifecycle:
            preStop:
              exec:
                command: [flaskd_ctl, shutdown, --lame-duck, "10"]
          startupProbe:
            httpGet: {path: /readyz, port: health}
            periodSeconds: 2
            failureThreshold: 30
          readinessProbe:
            httpGet: {path: /readyz, port: health}
          livenessProbe:
            httpGet: {path: /livez, port: health}
"""

STACK: Final = """\
services:
  shop:
    image: shop:1
    command: [flaskd, run, shop:app, --grace, "30"]
    stop_grace_period: 40s
    healthcheck:
      test: [CMD, flaskd_ctl, status]
      start_period: 1m
      interval: 5s
    deploy:
      replicas: 3
      update_config:
        order: start-first
        delay: 5s
"""

HAPROXY: Final = """\
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option redispatch

backend shop
    option httpchk GET /readyz
    server one 127.0.0.1:8001 check port 8081 inter 1s
    server two 127.0.0.1:8002 check port 8082 inter 1s
"""

NGINX: Final = """\
upstream shop {
    server 127.0.0.1:8001;
    server 127.0.0.1:8002;
    keepalive 16;
    keepalive_timeout 20s;  # shorter than --head-timeout
}
server {
    location / {
        proxy_pass http://shop;
    }
}
"""

GOOD: Final = {
    "shop.service": UNIT,
    "signalled.service": SIGNALLED,
    "typed.service": MAX_UNREAD,
    "shop.yaml": POD,
    "stack.yml": STACK,
    "haproxy.cfg": HAPROXY,
    "nginx.conf": NGINX,
}
"""Each finds nothing, alone and with all the others."""


class Bad(NamedTuple):
    """A rule's bad example: in file `name`, `old` is replaced by `new`; `beside` it the good files of these names lie."""

    rule: str
    name: str
    old: str
    new: str
    said: str
    """A part of the sentence, with the numbers."""
    beside: tuple[str, ...] = ()


BAD: Final = (
    Bad("unit-stop", "typed.service", "TimeoutStopSec=45", "TimeoutStopSec=20", "20 s after a stop began"),
    Bad("unit-stop-asked", "shop.service", "TimeoutStopSec=45", "TimeoutStopSec=20", "gives a stop 20 s"),
    Bad(
        "unit-stop-asked",
        "shop.service",
        "--missing-ok",
        "--lame-duck 15",
        "15 s lame duck + 30 s grace + 5 s",
    ),
    Bad("unit-start-asked", "shop.service", "--grace", "--start-timeout 120 --grace", "gives a start 90 s"),
    Bad("unit-type", "shop.service", "Type=notify", "Type=forking", "Type=forking never counts"),
    Bad("unit-ready", "shop.service", "Type=notify", "Type=simple", "before anything is served"),
    Bad("unit-kill-mode", "signalled.service", "=mixed", "=process", "KillMode=process"),
    Bad("unit-children", "signalled.service", "KillMode=mixed\n", "", "to every process at once"),
    Bad("unit-signal", "signalled.service", "KillMode=", "KillSignal=SIGQUIT\nKillMode=", "SIGQUIT"),
    Bad("unit-watchdog", "shop.service", "Type=", "WatchdogSec=500ms\nType=", "silent for 0.5 s"),
    Bad(
        "unit-reload",
        "shop.service",
        "/srv/shop/.venv/bin/flaskd_ctl --name %N reload",
        "kill -HUP $MAINPID",
        "kill -HUP",
    ),
    Bad("no-grace", "shop.service", "--grace 30", "--grace 0", "0 s"),
    Bad(
        "lame-duck",
        "shop.yaml",
        '--lame-duck, "10"',
        '--lame-duck, "10", --wait-unrouted, "15"',
        "15 s without a new request, but for 10 s",
    ),
    Bad(
        "workers-cpus",
        "shop.service",
        "--grace 30\n",
        "--grace 30 --workers 4\nCPUQuota=150%\n",
        "time of 1.5 CPUs",
    ),
    Bad(
        "workers-cpus",
        "shop.yaml",
        '"30", --health',
        '"30", --workers, 3..8, --health',
        "it starts 3 workers (--workers in",
    ),
    Bad(
        "workers-cpus",
        "stack.yml",
        '"30"]',
        '"30", --workers, "2"]\n    cpus: 0.5',
        "it starts 2 workers",
    ),
    Bad(
        "pod-auto",
        "shop.yaml",
        '--health, "0.0.0.0:8081"]\n          resources: {limits: {cpu: 1500m, memory: 512Mi}}',
        '--health, "0.0.0.0:8081", --workers, auto]',
        "on a host with 64",
    ),
    Bad("task-auto", "stack.yml", '"30"]', '"30", --workers, 1..auto]', "--workers 1..auto counts"),
    Bad(
        "pod-shell",
        "shop.yaml",
        '[flaskd, run, shop:app, --grace, "30", --health, "0.0.0.0:8081"]',
        '[sh, -c, "flaskd run shop:app --health 0.0.0.0:8081"]',
        "a shell runs flaskd",
    ),
    Bad("pod-stop", "shop.yaml", "PeriodSeconds: 60", "PeriodSeconds: 44", "10 s lame duck + 30 s grace"),
    Bad("pod-lead", "shop.yaml", '--lame-duck, "10"', '--grace, "30"', "0 s after the kubelet"),
    Bad("pod-unready", "shop.yaml", "readinessProbe", "notAProbe", "no readinessProbe"),
    Bad(
        "pod-readiness",
        "shop.yaml",
        "readinessProbe:\n            httpGet: {path: /readyz, port: health}",
        "readinessProbe:\n            httpGet: {path: /, port: 8000}",
        "port 8000",
    ),
    Bad("pod-liveness", "shop.yaml", "/livez, port: health", "/, port: 8000", "for 30 s"),
    Bad("pod-start", "shop.yaml", "failureThreshold: 30", "failureThreshold: 10", "after 20 s"),
    Bad("pod-rollout", "shop.yaml", "maxUnavailable: 0", "maxUnavailable: 3", "3 of 3 pods"),
    Bad("pod-rollout", "shop.yaml", "  strategy:", "  strategy:\n    type: Recreate", "Recreate"),
    Bad(
        "task-shell",
        "stack.yml",
        '[flaskd, run, shop:app, --grace, "30"]',
        'sh -c "flaskd run shop:app --grace 30"',
        "a shell runs flaskd",
    ),
    Bad("task-stop", "stack.yml", "    stop_grace_period: 40s\n", "", "10 s after it began to stop it"),
    Bad("task-signal", "stack.yml", "    image:", "    stop_signal: SIGKILL\n    image:", "SIGKILL"),
    Bad("task-rollout", "stack.yml", "start-first", "stop-first\n        parallelism: 0", "3 of 3 tasks"),
    Bad("task-unchecked", "stack.yml", "[CMD, flaskd_ctl, status]", "[NONE]", "switched off"),
    Bad("task-health", "stack.yml", "healthcheck", "x-healthcheck", "not seen here"),
    Bad("task-start", "stack.yml", "start_period: 1m", "start_period: 10s", "after 25 s"),
    Bad(
        "balancer-idle",
        "nginx.conf",
        "keepalive_timeout 20s;",
        "",
        "for 60 s (keepalive_timeout, by default)",
        ("shop.service",),
    ),
    Bad(
        "balancer-idle", "shop.service", "--grace", "--head-timeout 12 --grace", "for 15 s", ("haproxy.cfg",)
    ),
    Bad(
        "balancer-late",
        "haproxy.cfg",
        "option redispatch",
        "retries 3",
        "after up to 3 s that a server is leaving (inter 1 s, fall 3)",
        ("stack.yml",),
    ),
    Bad(
        "balancer-tcp",
        "haproxy.cfg",
        "option httpchk GET /readyz",
        "",
        "10 s in which",
        ("shop.yaml",),
    ),
    Bad(
        "balancer-tcp",
        "haproxy.cfg",
        "/readyz",
        "/livez",
        "only asks /livez",
        ("shop.yaml",),
    ),
    Bad(
        "balancer-alone",
        "nginx.conf",
        "    server 127.0.0.1:8002;\n",
        "",
        "one server",
        ("signalled.service",),
    ),
    Bad(
        "balancer-alone",
        "nginx.conf",
        "proxy_pass",
        "proxy_next_upstream off; proxy_pass",
        "proxy_next_upstream",
        ("shop.service",),
    ),
    Bad(
        "balancer-patience",
        "haproxy.cfg",
        "timeout server 60s",
        "timeout server 10s",
        "longer than 10 s (timeout server), while a stop waits 30 s",
        ("shop.service",),
    ),
    Bad(
        "balancer-rollout",
        "stack.yml",
        "delay: 5s",
        "delay: 0s",
        "3 tasks with 0 s between",
        ("haproxy.cfg",),
    ),
)
