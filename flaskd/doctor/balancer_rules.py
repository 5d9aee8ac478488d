"""What can be wrong between a balancer and an instance behind it."""

import math

from flaskd.doctor.facts import NEVER, Balancer, Pod, Service, Task, Unit
from flaskd.doctor.findings import Said


def keeps_connections_longer(balancer: Balancer, service: Service) -> Said | None:
    """Its idle connections outlive ours: it may send a request on one that we are closing."""
    if not service.keeps_alive or not balancer.idle or balancer.idle < service.value("head_timeout"):
        return None
    least = math.ceil(balancer.idle) + 5 if balancer.idle < NEVER else 0
    ours = f"--head-timeout {least}" if least else ""
    return Said(
        f"{balancer.product} keeps idle connections to a server for {balancer.idle:g} s ({balancer.idle_from}), and we close "
        f"them when {service.said('head_timeout')}: a request that is sent just then is lost, or sent twice",
        " or ".join(
            filter(None, [f"make {balancer.idle_from.split(',')[0].split(' ')[0]} shorter than ours", ours])
        ),
    )


def notices_too_late(balancer: Balancer, service: Service) -> Said | None:
    """It sends requests to an instance that has begun to refuse them, and does not try another."""
    if _waits_in_line(service) or balancer.product != "HAProxy" or balancer.retried:
        return None
    lead = service.stop.lead if balancer.sees_drain else 0.0
    if lead >= balancer.notices:
        return None
    if balancer.notices == NEVER:
        return Said(
            "HAProxy does not check this server (check, agent-check), so it sends requests to it after it has stopped, and "
            "does not try another one (option redispatch)",
            "add `option redispatch`, and `check` with `option httpchk GET /readyz`, or `agent-check`",
        )
    return Said(
        f"HAProxy notices after up to {balancer.notices:g} s that a server is leaving ({balancer.notices_from}), which "
        f"refuses connections {lead:g} s after it said so, and HAProxy does not try another one (option redispatch)",
        f"give a lame duck of {math.ceil(balancer.notices) + 1} s or more, or add `option redispatch`",
    )


def check_sees_no_drain(balancer: Balancer, service: Service) -> Said | None:
    """It only asks whether the instance lives, which a draining one does."""
    if balancer.checked not in {"tcp", "livez"} or not service.stop.lead or _waits_in_line(service):
        return None
    asks = "asks /livez" if balancer.checked == "livez" else "checks that a connection is taken"
    return Said(
        f"HAProxy only {asks}, and all is well there in the {service.stop.lead:g} s in which the instance wants to be left "
        "alone: they are waited for in vain",
        "set `option httpchk GET /readyz` with `check port` of --health, or `agent-check` with --agent",
    )


def nobody_else_is_tried(balancer: Balancer, service: Service) -> Said | None:
    """A connection that was refused is nobody else's to take: nginx tells the client."""
    if balancer.product != "nginx" or balancer.retried or _waits_in_line(service):
        return None
    if balancer.servers < 2:
        return Said(
            "nginx has one server here: while that restarts, clients get 502",
            "add a second instance, or let systemd hold the socket",
        )
    return Said(
        "nginx does not try another server when a connection is refused (proxy_next_upstream), which is how it learns that "
        "one has stopped",
        "set `proxy_next_upstream error timeout`, as is the default",
    )


def gives_up_before_us(balancer: Balancer, service: Service) -> Said | None:
    """It gives up on responses that we still work on, and that a stop waits for."""
    if balancer.patience >= service.stop.grace:
        return None
    return Said(
        f"{balancer.product} answers 504 when a response takes longer than {balancer.patience:g} s ({balancer.patience_from}), "
        f"while a stop waits {service.stop.grace:g} s for it: for nobody",
        f"a grace of {balancer.patience:g} s is enough, or make {balancer.patience_from} longer",
    )


def replaced_before_counted_in(balancer: Balancer, service: Task | Pod) -> Said | None:
    """A rollout is over before the balancer has seen the first new instance."""
    if not isinstance(service, Task) or not service.swarm or not balancer.counts_in:
        return None
    pauses = math.ceil(service.replicas / service.batch) - 1
    if pauses * service.delay + service.stop.lead >= balancer.counts_in:
        return None
    return Said(
        f"an update replaces {service.replicas} tasks with {service.delay:g} s between (delay), and HAProxy sends requests to "
        f"a new one only after {balancer.counts_in:g} s (rise times inter): the last old one may be gone by then",
        f"set update_config: delay: {math.ceil(balancer.counts_in / max(1, pauses))}s or more",
    )


def _waits_in_line(service: Service) -> bool:
    """Tell whether somebody else holds the listeners, so that nothing is refused."""
    return isinstance(service, Unit) and service.from_socket
