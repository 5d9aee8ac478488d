"""Problems of any service, of a pod of Kubernetes, and of a task of Docker's."""

import math
from collections.abc import Iterator
from typing import Final

from flaskd.doctor.facts import GRACEFUL, Pod, Service, Task
from flaskd.doctor.findings import Problem
from flaskd.process.capacity import Capacity
from flaskd.settings.workers import AUTO, MOST_WORKERS, bounds, uses_auto

WITHDRAWN: Final = 3.0
"""Seconds after which the cluster's proxies have usually heard that a pod is leaving; Kubernetes promises none."""

HEALTHCHECK: Final = 'set healthcheck: test: ["CMD", "flaskd_ctl", "status"]'


def no_grace(service: Service) -> Iterator[Problem]:
    """The grace period is 0."""
    if service.stop.grace <= 0:
        yield Problem(
            "the grace period is 0 s: a stop cuts every request in flight",
            "set a grace period that is longer than your longest requests",
        )


def lame_duck(service: Service) -> Iterator[Problem]:
    """The lame duck is shorter than wait_unrouted."""
    waits, most = service.stop.wait_unrouted, service.stop.lame_duck
    if 0 < most < waits:
        yield Problem(
            f"a stop waits for {waits:g} s without a new request, but for {most:g} s at most (lame duck)",
            f"set a lame duck of more than {waits:g} s",
        )


def too_many_workers(service: Service) -> Iterator[Problem]:
    """There are more workers than CPUs that it may use."""
    text = str(service.value("workers"))
    if not service.cpus or text == AUTO:
        return
    least, most = bounds(text, 1).minimum, Capacity(MOST_WORKERS, service.cpus).cpus
    if least > most:
        yield Problem(
            f"it starts {least} workers ({service.settings['workers'].source}), but may use the time of {service.cpus:g} CPUs: "
            "an interpreter computes on one CPU at a time, so the others only take memory",
            "set --workers auto, or a range that begins with 1 if its requests mostly wait",
        )


def unlimited_auto(service: Pod | Task) -> Iterator[Problem]:
    """The number of workers is automatic, and nothing limits the CPUs."""
    if uses_auto(str(service.value("workers"))) and not service.cpus:
        yield Problem(
            f"--workers {service.value('workers')} counts the CPUs, and nothing limits them: on a host with 64 it starts as "
            "many workers, if the memory has room",
            "set a limit of CPUs (resources.limits.cpu, deploy.resources.limits.cpus), or a range such as --workers 1..4",
        )


def shell(service: Pod | Task) -> Iterator[Problem]:
    """A shell is the container's first process and receives the signals."""
    if service.shell:
        yield Problem(
            "a shell runs flaskd and is the container's first process: it does not pass the stop signal on, and everything is "
            "killed when the time is over",
            "put `exec` before flaskd, or write the command as a list, without a shell",
        )


def pod_stop(pod: Pod) -> Iterator[Problem]:
    """The terminationGracePeriodSeconds is shorter than a stop may take, preStop included."""
    if pod.grace_period < pod.stop.needs:
        yield Problem(
            f"the kubelet kills the pod {pod.grace_period:g} s after it began to stop it (terminationGracePeriodSeconds), but "
            f"a stop may take {pod.stop.needs:g} s: {pod.stop.parts()}",
            f"set terminationGracePeriodSeconds: {math.ceil(pod.stop.needs)} or more, or a shorter grace period",
        )


def pod_lead(pod: Pod) -> Iterator[Problem]:
    """The pod stops before the cluster's proxies know that it is leaving."""
    if pod.stop.lead < WITHDRAWN:
        yield Problem(
            f"it refuses connections {pod.stop.lead:g} s after the kubelet began to stop it, while the cluster's proxies still "
            "open some: they are told at the same moment",
            "add a preStop hook: flaskd_ctl shutdown --lame-duck 10 --wait-unrouted 3",
        )


def pod_unready(pod: Pod) -> Iterator[Problem]:
    """There is no readiness probe."""
    if pod.readiness is None:
        yield Problem(
            "it has no readinessProbe, so it gets requests before it serves",
            "add one: httpGet of /readyz on the port of --health",
        )


def pod_readiness(pod: Pod) -> Iterator[Problem]:
    """The readiness probe asks the application, which does not know of a drain."""
    probe = pod.readiness
    if probe is not None and probe.port and probe.port != pod.health_port:
        yield Problem(
            f"its readinessProbe asks port {probe.port}, which is not the health listener's ({pod.health}), so it does not see "
            "a drain or a lame duck",
            "set --health 0.0.0.0:8081 and probe /readyz there",
        )


def pod_liveness(pod: Pod) -> Iterator[Problem]:
    """The liveness probe asks the application, or readiness, so that a busy pod is killed."""
    probe = pod.liveness
    if probe is not None and probe.port and (probe.port != pod.health_port or probe.path == "/readyz"):
        yield Problem(
            f"its livenessProbe asks {probe.path or 'a connection'} at port {probe.port}: if all threads are busy, or the pod "
            f"drains, for {probe.budget:g} s, the kubelet kills the container with its requests",
            "probe /livez at the health listener (--health), or remove the probe: the supervisor replaces workers itself",
        )


def pod_start(pod: Pod) -> Iterator[Problem]:
    """The startup probe fails before flaskd gives up a start."""
    probe = pod.startup
    if probe is not None and probe.budget < pod.start:
        yield Problem(
            f"the kubelet kills a container that has not started after {probe.budget:g} s (startupProbe), but "
            f"{pod.quoted('start_timeout')}",
            f"set its failureThreshold so that it waits {math.ceil(pod.start)} s, or a shorter --start-timeout",
        )


def pod_rollout(pod: Pod) -> Iterator[Problem]:
    """A rollout leaves no pod that serves."""
    if pod.rolled and pod.strategy == "Recreate":
        yield Problem(
            "the strategy Recreate stops every pod before the first new one starts",
            "set strategy: RollingUpdate with maxUnavailable: 0",
        )
    elif pod.rolled and 0 < pod.replicas <= pod.away:
        yield Problem(
            f"a rollout may remove {pod.away} of {pod.replicas} pods before a new one serves (maxUnavailable: "
            f"{pod.max_unavailable})",
            "set maxUnavailable: 0 and maxSurge: 1",
        )


def task_stop(task: Task) -> Iterator[Problem]:
    """The stop_grace_period is shorter than a stop may take."""
    if task.stop_grace < task.stop.needs:
        yield Problem(
            f"Docker kills the container {task.stop_grace:g} s after it began to stop it (stop_grace_period), but a stop may "
            f"take {task.stop.needs:g} s: {task.stop.parts()}",
            f"set stop_grace_period: {math.ceil(task.stop.needs)}s or more, or a shorter grace period",
        )


def task_signal(task: Task) -> Iterator[Problem]:
    """The stop_signal does not stop flaskd gracefully."""
    if task.stop_signal not in GRACEFUL:
        yield Problem(
            f"Docker stops it with {task.stop_signal} (stop_signal), which is not a graceful shutdown",
            "remove stop_signal: the default, SIGTERM, is graceful",
        )


def task_rollout(task: Task) -> Iterator[Problem]:
    """An update stops every task before the first new one starts."""
    if task.swarm and task.order == "stop-first" and 0 < task.replicas <= task.batch:
        yield Problem(
            f"an update stops {task.batch} of {task.replicas} tasks before it starts a new one (order: stop-first, "
            f"parallelism: {task.parallelism})",
            "set update_config: order: start-first, or more replicas and parallelism: 1",
        )


def task_unchecked(task: Task) -> Iterator[Problem]:
    """The health check is switched off, so Swarm does not know when a new task serves."""
    if task.swarm and task.health is not None and task.health.disabled:
        yield Problem(
            "its health check is switched off, so an update stops old tasks before new ones serve",
            HEALTHCHECK,
        )


def task_health(task: Task) -> Iterator[Problem]:
    """The file has no health check; the image may have one."""
    if task.swarm and task.health is None:
        yield Problem(
            "it has no healthcheck: unless the image has one (which is not seen here), an update stops old tasks before new "
            "ones serve",
            HEALTHCHECK,
        )


def task_start(task: Task) -> Iterator[Problem]:
    """Swarm gives up a new task before flaskd does."""
    health = task.health
    if task.swarm and health is not None and not health.disabled and health.budget < task.start:
        yield Problem(
            f"Swarm kills a task that is not healthy after {health.budget:g} s (start_period + interval times retries), but "
            f"{task.quoted('start_timeout')}",
            f"set a start_period of {math.ceil(task.start)}s, or a shorter --start-timeout",
        )
