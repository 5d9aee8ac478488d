"""What can be wrong with a pod of Kubernetes or a task of Docker's around us."""

import math

from flaskd.doctor.facts import Pod, Service, Task
from flaskd.doctor.findings import Said

GRACEFUL = ("SIGTERM", "SIGINT")
WITHDRAWN = 3.0
"""Seconds after which proxies have usually heard that a pod is leaving; nobody promises any."""


def nothing_is_waited_for(service: Service) -> Said | None:
    """The grace period is 0."""
    if service.stop.grace > 0:
        return None
    return Said(
        "the grace period of a stop is 0 s: whatever is in flight then is cut",
        "give it a grace of some seconds, more than your longest requests take",
    )


def lead_ends_early(service: Service) -> Said | None:
    """The lame duck ends before wait_unrouted can have passed."""
    waits, most = service.stop.wait_unrouted, service.stop.lame_duck
    if not waits or not most or waits <= most:
        return None
    return Said(
        f"a stop shall wait for {waits:g} s without a new request, but for {most:g} s at the most (lame duck)",
        f"give a lame duck of more than {waits:g} s",
    )


def shell_gets_the_signal(service: Pod | Task) -> Said | None:
    """A shell is the container's first process and keeps the signals."""
    if not service.shell:
        return None
    return Said(
        "a shell runs flaskd and is the container's first process: a stop's signal may end with it, and everything is killed "
        "when the time is over",
        "put `exec` before flaskd, or write the command as a list without a shell",
    )


def pod_is_killed(pod: Pod) -> Said | None:
    """The terminationGracePeriodSeconds is shorter than a stop may take, preStop included."""
    if pod.grace_period >= pod.stop.needs:
        return None
    return Said(
        f"the kubelet kills the pod {pod.grace_period:g} s after it began to end it (terminationGracePeriodSeconds), and a "
        f"stop may take {pod.stop.needs:g} s: {pod.stop.parts()}",
        f"set terminationGracePeriodSeconds: {math.ceil(pod.stop.needs)} or more, or a shorter grace",
    )


def pod_leaves_unannounced(pod: Pod) -> Said | None:
    """It stops before the proxies of the cluster have heard that it is leaving."""
    if pod.stop.lead >= WITHDRAWN:
        return None
    return Said(
        f"it refuses connections {pod.stop.lead:g} s after the kubelet began to end it, while the proxies of the cluster still "
        "send some: they hear of it at the same moment",
        "add a preStop hook: flaskd_ctl shutdown --lame-duck 10 --wait-unrouted 3",
    )


def pod_gets_requests_too_early(pod: Pod) -> Said | None:
    """There is no readiness probe."""
    if pod.readiness is not None:
        return None
    return Said(
        "it has no readinessProbe, so it gets requests before it serves",
        "add one: httpGet of /readyz on the port of --health",
    )


def pod_readiness_is_not_ours(pod: Pod) -> Said | None:
    """The readiness probe asks the application, which does not know of a drain."""
    probe = pod.readiness
    if probe is None or not probe.port or _asks_health(pod, probe.port):
        return None
    return Said(
        f"its readinessProbe asks port {probe.port}, which is not the health listener's ({_health(pod)}), so it does not see a "
        "drain or a lame duck",
        "set --health 0.0.0.0:8081 and ask /readyz there",
    )


def pod_is_killed_when_busy(pod: Pod) -> Said | None:
    """The liveness probe asks the application, or readiness, so that load looks like death."""
    probe = pod.liveness
    if probe is None or not probe.port or (_asks_health(pod, probe.port) and probe.path != "/readyz"):
        return None
    return Said(
        f"its livenessProbe asks {probe.path or 'a connection'} at port {probe.port}: when all threads are busy, or it drains, "
        f"for {probe.budget:g} s, the kubelet kills the container with its requests",
        "ask /livez at the health listener (--health), or leave it out: the supervisor replaces workers by itself",
    )


def pod_is_killed_while_starting(pod: Pod) -> Said | None:
    """The startup probe gives up before we do."""
    probe = pod.startup
    if probe is None or probe.budget >= pod.start:
        return None
    return Said(
        f"the kubelet kills a container that has not started after {probe.budget:g} s (startupProbe), while "
        f"{pod.said('start_timeout')}",
        f"set its failureThreshold so that it waits {math.ceil(pod.start)} s, or a shorter --start-timeout",
    )


def pods_go_all_at_once(pod: Pod) -> Said | None:
    """The strategy of a rollout leaves no pod that serves."""
    if not pod.rolled:
        return None
    if pod.strategy == "Recreate":
        return Said(
            "the strategy Recreate ends every pod before the first new one starts",
            "set strategy: RollingUpdate with maxUnavailable: 0",
        )
    if pod.away < pod.replicas:
        return None
    return Said(
        f"a rollout may take away {pod.away} of {pod.replicas} pods before a new one serves (maxUnavailable: "
        f"{pod.max_unavailable})",
        "set maxUnavailable: 0 and maxSurge: 1",
    )


def task_is_killed(task: Task) -> Said | None:
    """The stop_grace_period is shorter than a stop may take."""
    if task.stop_grace >= task.stop.needs:
        return None
    return Said(
        f"Docker kills the container {task.stop_grace:g} s after it began to stop it (stop_grace_period), and a stop may take "
        f"{task.stop.needs:g} s: {task.stop.parts()}",
        f"set stop_grace_period: {math.ceil(task.stop.needs)}s or more, or a shorter grace",
    )


def task_is_stopped_ungracefully(task: Task) -> Said | None:
    """The stop_signal is one that ends us at once, or does not stop us."""
    if task.stop_signal in GRACEFUL:
        return None
    return Said(
        f"Docker stops it with {task.stop_signal} (stop_signal), which is no graceful shutdown",
        "leave out stop_signal: SIGTERM is",
    )


def tasks_go_all_at_once(task: Task) -> Said | None:
    """An update stops every task before the first new one starts."""
    if not task.swarm or task.order != "stop-first" or task.batch < task.replicas:
        return None
    return Said(
        f"an update stops {task.batch} of {task.replicas} tasks before it starts a new one (order: stop-first, parallelism: "
        f"{task.parallelism})",
        "set update_config: order: start-first, or more replicas and parallelism: 1",
    )


def update_waits_for_nothing(task: Task) -> Said | None:
    """The health check, by which Swarm knows that a new task serves, is switched off."""
    if not task.swarm or task.health is None or not task.health.disabled:
        return None
    return Said(
        "its health check is switched off, so an update takes away old tasks before new ones serve",
        'set healthcheck: test: ["CMD", "flaskd_ctl", "status"]',
    )


def health_is_unknown(task: Task) -> Said | None:
    """The file has no health check; the image may."""
    if not task.swarm or task.health is not None:
        return None
    return Said(
        "it has no healthcheck, and unless the image has one (which is not seen here) an update takes away old tasks before "
        "new ones serve",
        'set healthcheck: test: ["CMD", "flaskd_ctl", "status"]',
    )


def task_is_killed_while_starting(task: Task) -> Said | None:
    """Swarm gives up a new task before we do."""
    if not task.swarm or task.health is None or task.health.disabled or task.health.budget >= task.start:
        return None
    return Said(
        f"Swarm kills a task that is not healthy after {task.health.budget:g} s (start_period + interval times retries), while "
        f"{task.said('start_timeout')}",
        f"set a start_period of {math.ceil(task.start)}s, or a shorter --start-timeout",
    )


def _asks_health(pod: Pod, port: int) -> bool:
    return _port_of(_health(pod)) == port


def _health(pod: Pod) -> str:
    found = pod.settings.get("health")
    return str(found.value) if found is not None and found.value else "not set"


def _port_of(address: str) -> int:
    text = address.rpartition(":")[2]
    return int(text) if text.isdecimal() else -1
