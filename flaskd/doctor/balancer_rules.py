"""Problems between a balancer and an instance behind it."""

import math
from collections.abc import Iterator

from flaskd.doctor.facts import NEVER, Balancer, Service, Task
from flaskd.doctor.findings import Problem


def idle(balancer: Balancer, service: Service) -> Iterator[Problem]:
    """The balancer keeps idle connections longer than flaskd: it may use one that is being closed."""
    if service.keeps_alive and balancer.idle and balancer.idle >= service.value("head_timeout"):
        option = balancer.idle_from.split(",")[0].split(" ")[0]
        longer = f" or --head-timeout {math.ceil(balancer.idle) + 5}" if balancer.idle < NEVER else ""
        yield Problem(
            f"{balancer.product} keeps idle connections to a server for {balancer.idle:g} s ({balancer.idle_from}), but flaskd "
            f"closes them earlier: {service.quoted('head_timeout')}; a request sent at that moment is lost, or sent twice",
            f"make {option} shorter than that{longer}",
        )


def late(balancer: Balancer, service: Service) -> Iterator[Problem]:
    """The balancer sends requests to an instance that refuses them, and does not try another one."""
    lead = service.stop.lead if balancer.sees_drain else 0.0
    if service.from_socket or balancer.product != "HAProxy" or balancer.retried or lead >= balancer.notices:
        return
    if balancer.notices == NEVER:
        yield Problem(
            "HAProxy does not check this server (check, agent-check), so it sends requests to it after it has stopped, and "
            "does not try another one (option redispatch)",
            "add `option redispatch`, and `check` with `option httpchk GET /readyz`, or `agent-check`",
        )
    else:
        yield Problem(
            f"HAProxy notices after up to {balancer.notices:g} s that a server is leaving ({balancer.notices_from}), but the "
            f"server refuses connections {lead:g} s after it said so, and HAProxy does not try another one (option redispatch)",
            f"set a lame duck of {math.ceil(balancer.notices) + 1} s or more, or add `option redispatch`",
        )


def blind_check(balancer: Balancer, service: Service) -> Iterator[Problem]:
    """The balancer only checks whether the instance is alive, which a draining one is."""
    if balancer.checked in {"tcp", "livez"} and service.stop.lead and not service.from_socket:
        asks = "asks /livez" if balancer.checked == "livez" else "opens a connection"
        yield Problem(
            f"HAProxy only {asks}, so it does not notice the {service.stop.lead:g} s in which the instance wants no new "
            "requests",
            "set `option httpchk GET /readyz` with `check port` of --health, or `agent-check` with --agent",
        )


def alone(balancer: Balancer, service: Service) -> Iterator[Problem]:
    """The balancer does not try another server when a connection is refused."""
    if balancer.product != "nginx" or balancer.retried or service.from_socket:
        return
    if balancer.servers < 2:
        yield Problem(
            "nginx has one server here: while it restarts, clients get 502",
            "add a second instance, or let systemd open the socket",
        )
    else:
        yield Problem(
            "nginx does not try another server when a connection is refused (proxy_next_upstream), which is how it learns that "
            "a server has stopped",
            "set `proxy_next_upstream error timeout`, the default",
        )


def patience(balancer: Balancer, service: Service) -> Iterator[Problem]:
    """The balancer gives up on responses that a stop still waits for."""
    if balancer.patience < service.stop.grace:
        yield Problem(
            f"{balancer.product} answers 504 when a response takes longer than {balancer.patience:g} s "
            f"({balancer.patience_from}), while a stop waits {service.stop.grace:g} s for it",
            f"set a grace period of {balancer.patience:g} s, or make {balancer.patience_from} longer",
        )


def rollout(balancer: Balancer, task: Task) -> Iterator[Problem]:
    """A rollout is over before the balancer uses the first new instance."""
    pauses = math.ceil(task.replicas / (task.batch or 1)) - 1
    if task.swarm and balancer.counts_in and pauses * task.delay + task.stop.lead < balancer.counts_in:
        yield Problem(
            f"an update replaces {task.replicas} tasks with {task.delay:g} s between (delay), but HAProxy sends requests to a "
            f"new one only after {balancer.counts_in:g} s (rise times inter): the last old one may be gone by then",
            f"set update_config: delay: {math.ceil(balancer.counts_in / max(1, pauses))}s or more",
        )
