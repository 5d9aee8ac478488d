"""What is read from each kind of file: the last word counts, defaults are those of the program that the file is for."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from flaskd.doctor import documents, haproxy, kubernetes, nginx, stack, unit
from flaskd.doctor.command_lines import find_command, run_options
from flaskd.doctor.facts import NEVER, SPARE, Balancer, Pod, Task, Unit
from flaskd.doctor.reading import (
    DOCKER,
    HAPROXY as HAPROXY_UNITS,
    NGINX as NGINX_UNITS,
    SYSTEMD,
    Unreadable,
    cpus,
    duration,
)
from flaskd.errors import ConfigError, FlaskdError
from flaskd.settings.sources import Found, resolve
from tests.flaskd.doctor.conftest import Look
from tests.flaskd.doctor.examples import GOOD, HAPROXY, NGINX, POD, STACK, UNIT

LOCAL = resolve({}, environ={}, directory="/dev/null")


def read_unit(text: str, local: Found = LOCAL) -> Unit:
    return unit.read_file("/nowhere/shop.service", text, local=local, unseen=[])


def read_pod(text: str) -> Pod:
    found = documents.load("shop.yaml", text)
    maps = kubernetes.config_maps(found)
    (pod,) = kubernetes.read("shop.yaml", found, maps=maps, local=LOCAL, unseen=[])
    return pod


def read_task(text: str) -> Task:
    (task,) = stack.read("stack.yml", documents.load("stack.yml", text), local=LOCAL, unseen=[])
    return task


def read_haproxy(text: str) -> Balancer:
    (found,) = haproxy.read("haproxy.cfg", text, unseen=[])
    return found


def read_nginx(text: str) -> Balancer:
    (found,) = nginx.read("nginx.conf", text, unseen=[])
    return found


def test_settings_are_the_files_then_those_found_here() -> None:
    """And what is told of each names the place."""
    local = resolve({"grace": "11", "linger": "3"}, environ={}, directory="/dev/null")

    found = read_unit(UNIT + 'Environment="FLASKD_HEAD_TIMEOUT=7" OTHER=1\n', local).settings

    assert found["grace"][:2] == (30.0, "--grace in shop.service")
    assert found["head_timeout"][:2] == (7.0, "FLASKD_HEAD_TIMEOUT in shop.service")
    assert found["linger"][:2] == (3.0, "--linger")
    assert found["backlog"][:2] == (2048, "default")


def test_a_units_drop_ins_have_the_last_word(look: Look) -> None:
    """An empty assignment forgets what was there."""
    drop_in = "[Service]\nExecStop=\nTimeoutStopSec=1min 30s\n"

    found = look({"shop.service": UNIT, "shop.service.d/local.conf": drop_in})

    assert [each.rule for each in found.findings] == ["unit-children"]


def test_timeouts_of_a_unit() -> None:
    """0 and infinity are no timeout; TimeoutSec is both; 90 s where nothing is said."""
    assert read_unit(UNIT + "TimeoutStopSec=0\n").timeout_stop == NEVER
    assert read_unit(UNIT + "TimeoutStartSec=infinity\n").timeout_start == NEVER
    both = read_unit("[Service]\nTimeoutSec=2min\nExecStart=flaskd run shop:app\n")
    assert (both.timeout_start, both.timeout_stop) == (120, 120)
    assert read_unit("[Service]\nExecStart=flaskd run shop:app\n").timeout_stop == 90


def test_what_systemctl_shows_is_what_the_file_says() -> None:
    """Properties have other names there, numbers for signals, and commands in braces."""
    shown = """\
Type=notify
LoadState=loaded
TimeoutStartUSec=1min 30s
TimeoutStopUSec=45s
WatchdogUSec=0
KillMode=control-group
KillSignal=15
CPUQuotaPerSecUSec=1s 500ms
ExecStart={ path=/srv/flaskd ; argv[]=/srv/flaskd run shop:app --grace 30 ; ignore_errors=no ; start_time=[n/a] ; pid=0 }
ExecStop={ path=/srv/flaskd_ctl ; argv[]=/srv/flaskd_ctl shutdown --lame-duck 5 ; ignore_errors=no ; pid=0 }
TriggeredBy=shop.socket
"""

    found = unit.from_shown("shop", shown, local=LOCAL, unseen=[])

    assert (found.kind, found.timeout_stop, found.timeout_start, found.watchdog) == ("notify", 45, 90, 0)
    assert (found.kill_signal, found.stopped_by_command, found.from_socket) == ("SIGTERM", True, True)
    assert (found.stop.grace, found.stop.lame_duck, found.stop.needs) == (30, 5, 40)
    assert found.cpus == 1.5
    free = unit.from_shown("shop", shown.replace("1s 500ms", "infinity"), local=LOCAL, unseen=[])
    assert free.cpus == 0


def test_a_unit_that_is_not_loaded_is_said() -> None:
    """systemctl exits 0 for it."""
    with pytest.raises(Unreadable, match=r"no unit absent loaded \(not-found\)"):
        unit.from_shown("absent", "LoadState=not-found\n", local=LOCAL, unseen=[])


@pytest.mark.parametrize(
    ("argv", "words", "shell"),
    [
        (["/opt/bin/flaskd", "run", "a"], ["run", "a"], False),
        (["python", "-m", "flaskd", "run", "a"], ["run", "a"], False),
        (["tini", "--", "flaskd", "run", "a"], ["run", "a"], False),
        (["sh", "-c", "cd /srv && exec flaskd run a"], ["run", "a"], False),
        (["/bin/bash", "-e", "-c", "flaskd run a"], ["run", "a"], True),
    ],
)
def test_our_command_is_found_in_others(argv: list[str], words: list[str], shell: bool) -> None:
    """By its name, whoever runs it."""
    found = find_command(argv)

    assert found is not None
    assert (found.words, found.shell) == (words, shell)


def test_arguments_alone_are_those_of_run() -> None:
    """The image's entry point is flaskd, or flaskd run."""
    assert run_options(["run", "a:b", "--grace=5"], where="").options["grace"] == "5"
    assert run_options(["a:b", "--grace", "5"], where="").options["grace"] == "5"
    assert run_options(["gunicorn", "a:b", "--workers-max", "5"], where="").options == {}


def test_options_that_run_would_refuse_are_an_error() -> None:
    """They are not passed over: the instance would not start."""
    with pytest.raises(ConfigError, match=r"shop.service: flaskd run would refuse.*--speed"):
        read_unit("[Service]\nExecStart=flaskd run shop:app --speed 9\n")
    with pytest.raises(ConfigError, match="grace cannot be 'soon'"):
        read_unit("[Service]\nExecStart=flaskd run shop:app --grace soon\n")


def test_a_pods_environment_comes_from_config_maps_too() -> None:
    """And commands may refer to it."""
    text = POD.replace(
        'command: [flaskd, run, shop:app, --grace, "30"',
        'envFrom: [{configMapRef: {name: shop}}]\n          command: [flaskd, run, shop:app, --grace, "$(GRACE)"',
    )
    text += "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\n"
    text += 'data: {FLASKD_LINGER: "2", GRACE: "12"}\n'

    found = read_pod(text)

    assert found.value("grace") == 12
    assert found.value("linger") == 2


def test_a_pods_probes_and_hook() -> None:
    """Defaults of the API; a port may be a name; a sleep comes before the signal."""
    found = read_pod(POD)
    slept = read_pod(
        POD.replace('[flaskd_ctl, shutdown, --lame-duck, "10"]', "[sh, -c, sleep 7.5]").replace("60", "40")
    )

    assert found.readiness is not None
    assert (found.readiness.port, found.readiness.budget) == (8081, 30)
    assert found.startup is not None
    assert found.startup.budget == 60
    assert (found.stop.by, found.stop.lead, found.stop.needs) == ("flaskd_ctl shutdown", 10, 45)
    assert (slept.stop.by, slept.stop.before, slept.stop.needs) == ("SIGTERM", 7.5, 42.5)


def test_a_stop_that_waits_for_requests_to_cease_is_bounded() -> None:
    """By the lame duck, else by what the daemon itself takes for a bound; its lead is what it waits at the least."""
    settled = read_unit(UNIT.replace("--grace 30", "--grace 20 --wait-unrouted 4")).stop
    bounded = read_unit(UNIT.replace("--missing-ok", "--lame-duck=9 --wait-unrouted=4 --grace=1")).stop
    at_once = read_unit(UNIT.replace("--grace 30", "--grace 0 --lame-duck 9")).stop

    assert (settled.lead, settled.needs) == (4, 30 + 20 + SPARE)
    assert (bounded.lead, bounded.needs) == (4, 9 + 1 + SPARE)
    assert (at_once.lead, at_once.needs) == (0, SPARE)


def test_a_percentage_of_pods_is_rounded_down() -> None:
    """As Kubernetes does for maxUnavailable; a quarter is its default."""
    assert read_pod(POD).away == 0
    assert read_pod(POD.replace("maxUnavailable: 0", "maxSurge: 1")).away == 0
    assert read_pod(POD.replace("maxUnavailable: 0", "maxUnavailable: 70%")).away == 2


def test_a_stack_is_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Docker does it: variables of the caller, defaults, and $$."""
    monkeypatch.setenv("TAG", "2")
    text = STACK.replace('"30"', '"${GRACE:-1$TAG}"').replace(
        "start_period: 1m", 'start_period: "${UNSET:-1m30s}"'
    )

    found = read_task(text.replace("1$TAG", "12"))

    assert found.value("grace") == 12
    assert found.health is not None
    assert found.health.budget == 105
    for said in ("15", "TERM", "SIGTERM"):
        assert read_task(f"services: {{shop: {{stop_signal: {said}}}}}").stop_signal == "SIGTERM"
    assert documents.interpolated({"a": ["$TAG ${TAG}s $$TAG"]}, {"TAG": "2"}) == {"a": ["2 2s $TAG"]}


def test_haproxys_defaults_hold_until_they_are_named_anew() -> None:
    """Per section, and per server what default-server says."""
    found = read_haproxy(HAPROXY)
    agent = read_haproxy(
        HAPROXY.replace(
            "    server one", "    default-server agent-check agent-inter 500ms rise 3\n    server one"
        )
    )

    assert (found.checked, found.notices, found.counts_in) == ("http", 3, 2)
    assert (found.idle, found.patience, found.retried) == (15, 60, True)
    assert (agent.checked, agent.notices, agent.counts_in) == ("agent", 0.5, 3)
    assert not read_haproxy(HAPROXY + "    no option redispatch\n").retried
    assert read_haproxy(HAPROXY + "    http-reuse never\n    timeout http-keep-alive 4s\n").idle == 4
    assert read_haproxy(HAPROXY + "    option http-server-close\n").idle == 0
    assert read_haproxy(HAPROXY.replace("/readyz", "/livez")).checked == "livez"
    assert read_haproxy(HAPROXY + "    server three 127.0.0.1:8003\n").notices == NEVER
    assert read_haproxy(HAPROXY + "    server-template web 3 shop:80 check\n").servers == 5
    assert read_haproxy(HAPROXY + "    server-template\n    retries\n").servers == 3


def test_nginx_keeps_connections_only_where_it_is_told_to() -> None:
    """Inner blocks have the last word."""
    found = read_nginx(NGINX)
    without = read_nginx(
        NGINX.replace("keepalive 16;", "").replace("server {", "proxy_read_timeout 2m; server {")
    )
    alone = read_nginx("location / { proxy_pass 'http://127.0.0.1:8000/x'; proxy_read_timeout 5s; }")

    assert (found.idle, found.patience, found.servers, found.retried) == (20, 60, 2, True)
    assert read_nginx(NGINX.replace("proxy_pass", "proxy_set_header Connection close; proxy_pass")).idle == 0
    assert (without.idle, without.patience) == (0, 120)
    assert (alone.where, alone.servers, alone.patience) == ("nginx.conf: proxy_pass 127.0.0.1:8000", 1, 5)


@pytest.mark.parametrize(
    ("text", "units", "seconds"),
    [
        ("1min 30s", SYSTEMD, 90),
        ("90", SYSTEMD, 90),
        ("2h 200ms", SYSTEMD, 7200.2),
        ("1m30s", DOCKER, 90),
        ("500", HAPROXY_UNITS, 0.5),
        ("1m", HAPROXY_UNITS, 60),
        ("1h 30m", NGINX_UNITS, 5400),
    ],
)
def test_durations_as_each_program_writes_them(text: str, units: dict[str, float], seconds: float) -> None:
    """A bare number means milliseconds to one and seconds to another."""
    assert duration(text, units, "") == pytest.approx(seconds)


@given(st.text(max_size=12) | st.from_regex(r"[0-9. ]{0,4}[a-z]{0,3}[0-9]{0,3}", fullmatch=True))
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed: seconds that are not negative, or Unreadable."""
    for units in (SYSTEMD, DOCKER, HAPROXY_UNITS, NGINX_UNITS):
        with contextlib.suppress(Unreadable):
            assert duration(text, units, "") >= 0


@pytest.mark.parametrize(
    ("text", "number"), [("0.5", 0.5), ("1500m", 1.5), ("50%", 0.5), (2, 2.0), ("200%", 2.0)]
)
def test_cpus_as_each_program_writes_them(text: object, number: float) -> None:
    """Kubernetes in thousandths, systemd in percent, Docker as a number."""
    assert cpus(text, "") == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "two", "-1", "1 m", "1.5.2", "infinity", None])
def test_what_is_no_number_of_cpus_is_refused(text: object) -> None:
    """The place is named."""
    with pytest.raises(Unreadable, match=r"shop: cpus: .* is not a number of CPUs"):
        cpus(text, "shop: cpus")


CUTS = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 40), st.sampled_from(["", "{", "]", "\n", "0", ": ", "- "]))
)


@given(st.sampled_from([name for name in GOOD if not name.endswith((".yaml", ".yml"))]), CUTS)
def test_a_damaged_file_is_a_sentence(name: str, cuts: list[tuple[int, int, str]]) -> None:
    """Whatever is cut out or put in: findings, or one of our errors; never a traceback."""
    text = GOOD[name]
    for begin, length, put in cuts:
        text = text[:begin] + put + text[begin + length :]
    with contextlib.suppress(FlaskdError):
        if name.endswith(".service"):
            read_unit(text)
        elif name.endswith(".cfg"):
            list(haproxy.read(name, text, unseen=[]))
        elif name.endswith(".conf"):
            list(nginx.read(name, text, unseen=[]))
