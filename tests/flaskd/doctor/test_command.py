"""`flaskd doctor` as a command: what it prints, and with which exit code it ends."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings, strategies as st

from flaskd.cli import main
from flaskd.doctor.examine import examine
from flaskd.doctor.reading import Unreadable
from flaskd.doctor.rules import RULES
from flaskd.settings.options import Given
from flaskd.settings.schema import Settings
from flaskd.systemd.unit import UnitOptions, units
from tests.flaskd.doctor.examples import GOOD, HAPROXY, NGINX, POD, STACK, UNIT

PROJECT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def doctor(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments], input=stdin)


def test_nothing_found_is_said_and_exits_0() -> None:
    """With what was looked at: silence could mean anything."""
    done = doctor("shop.service", "haproxy.cfg")

    assert done.exit_code == 0
    assert done.stdout == "Nothing found in shop.service, haproxy.cfg: backend shop.\n"


def test_a_finding_is_a_sentence_with_numbers_and_a_next_step() -> None:
    """And exit 1."""
    done = doctor("-", stdin=STACK.replace("40s", "30s"))

    assert done.exit_code == 1
    assert done.stdout == (
        "will lose requests: -: service shop [task-stop]\n"
        "  Docker kills the container 30 s after it began to stop it (stop_grace_period), but a stop may take 35 s: "
        "30 s grace + 5 s to end.\n"
        "  Next: set stop_grace_period: 35s or more, or a shorter grace period.\n"
    )


def test_json_has_the_same() -> None:
    """For programs."""
    done = doctor("--json", "-", stdin=STACK.replace("40s", "30s"))

    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert told.keys() == {"looked_at", "findings", "unseen"}
    assert told["findings"][0].keys() == {"rule", "severity", "where", "sentence", "next"}
    assert told["findings"][0]["severity"] == "will lose requests"


def test_settings_of_the_command_line_hold_where_files_say_nothing() -> None:
    """A balancer's file says nothing of ours."""
    assert doctor("haproxy.cfg").exit_code == 0
    short = doctor("--head-timeout", "10", "haproxy.cfg")

    assert short.exit_code == 1
    assert "head_timeout is 10 s (--head-timeout)" in short.stdout
    assert "the settings of this directory" in short.stdout


def test_settings_of_the_command_line_hold_for_a_unit_whose_directory_is_here(files: Path) -> None:
    """What neither the unit nor the files of its directory say."""
    text = f"[Service]\nWorkingDirectory={files}\nExecStart=/srv/flaskd run shop:app\nTimeoutStopSec=60\n"
    (files / "here.service").write_text(text)

    assert "unit-stop" not in doctor("here.service").stdout
    assert "may take 605 s" in doctor("--grace", "600", "here.service").stdout


def test_manifests_with_a_configuration_of_nginx_in_them_are_manifests() -> None:
    """From standard input, which has no name that says so."""
    nginx = "".join(f"    {line}\n" for line in NGINX.splitlines())
    config = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: nginx}}\ndata:\n  nginx.conf: |\n{nginx}"

    done = doctor("-", stdin=f"{config}---\n{POD.replace('Seconds: 60', 'Seconds: 1')}")

    assert "pod-stop" in done.stdout


def test_the_toml_of_the_current_directory_counts(files: Path) -> None:
    """As for `flaskd config`."""
    (files / "flaskd.toml").write_text("head_timeout = 9\n")

    assert "head_timeout is 9 s (flaskd.toml)" in doctor("haproxy.cfg").stdout


def test_what_cannot_be_seen_is_told(files: Path) -> None:
    """Nothing found is worth little where nothing was seen."""
    done = doctor("-", stdin=STACK.replace('    command: [flaskd, run, shop:app, --grace, "30"]\n', ""))

    assert "not seen: -: service shop: the command is in the image" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("absent.service", None, "cannot read absent.service: No such file"),
        ("README.md", "# Shop\n", "README.md is not a kind of file that flaskd doctor knows"),
        (
            "Containerfile",
            "FROM x\nENV A: b\n",
            "Containerfile is not a kind of file that flaskd doctor knows",
        ),
        (
            "shop.socket",
            "[Socket]\nListenStream=80\n",
            "shop.socket is not a kind of file that flaskd doctor knows",
        ),
        ("x.yaml", "a: [", "x.yaml is not YAML"),
        ("x.yaml", "a: " + "[" * 5000, "x.yaml is not YAML"),
        ("x.yaml", "a: 2020-13-45", "x.yaml is not YAML: month must be in 1..12"),
        ("x.yaml", "services: {web: &web [*web]}", "x.yaml does not have the expected shape"),
        (
            "x.yaml",
            "apiVersion: v1\nkind: Pod\nspec: {containers: [1]}\n",
            "x.yaml does not have the expected shape",
        ),
        ("x.service", UNIT.replace("=45", "=soon"), "x.service: TimeoutStopSec: 'soon' is not a duration"),
        ("x.cfg", HAPROXY.replace("inter 1s", "inter 1y"), "there is no unit 'y' here"),
        ("x.conf", NGINX + "}", "its braces do not match"),
        ("x.conf", "http {" * 5000 + "}" * 5000, "nested too deep"),
        ("x.yaml", POD.replace("60", "[]"), "is not a whole number"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_and_exit_2(
    name: str, text: str | None, said: str, files: Path
) -> None:
    """Told apart from findings, and never a traceback."""
    if text is not None:
        (files / name).write_text(text)

    done = doctor(name, "shop.service")

    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults\n    mode http\n", "no backend has a server"),
        ("server { listen 80; }\n", "nothing is passed on"),
        ("apiVersion: v1\nkind: Service\n", "no workload"),
        ("services: {a: {image: a}, b: {image: b}}\n", "no service names flaskd"),
    ],
)
def test_a_file_in_which_nothing_is_to_be_seen_is_no_good_one(text: str, said: str) -> None:
    """A pipeline that gives the wrong file has to notice."""
    done = doctor("-", stdin=text)

    assert done.exit_code == 2
    assert "there is nothing to check: -" in done.stderr
    assert said in done.stderr


def test_nothing_to_look_at_is_a_wrong_command_line() -> None:
    """Not a clean bill."""
    done = doctor()

    assert done.exit_code == 2
    assert "nothing to check" in done.stderr


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units and balancers need none of it."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    missing = doctor("shop.yaml")

    assert missing.exit_code == 2
    assert "PyYAML is not installed. Next: pip install 'flaskd[doctor]'" in missing.stderr
    assert doctor("shop.service", "haproxy.cfg", "nginx.conf").exit_code == 0


def test_a_unit_that_is_loaded_is_asked_for(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that was added to it; what systemctl says when it fails is passed on."""
    systemctl = files / "bin" / "systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(
        "#!/bin/sh\n[ $2 = shop ] || { echo System is not running >&2; exit 1; }\ncat <<END\n"
        "LoadState=loaded\nType=exec\nKillMode=mixed\nTimeoutStopUSec=20s\nTriggeredBy=shop.socket\n"
        "ExecStart={ path=/srv/flaskd ; argv[]=/srv/flaskd run shop:app --grace 25 ; ignore_errors=no }\nEND\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{systemctl.parent}:{os.environ['PATH']}")

    loaded, broken = doctor("--unit", "shop"), doctor("--unit", "other")

    assert loaded.exit_code == 1
    assert "20 s after a stop began (TimeoutStopSec), but a stop may take 30 s" in loaded.stdout
    assert broken.exit_code == 2
    assert "systemctl show other failed: System is not running" in broken.stderr


YAML = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.text("ab$-{}1s", max_size=5),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
KEYS = st.sampled_from(
    ["spec", "template", "containers", "deploy", "healthcheck", "command", "replicas", "services"]
)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(KEYS, YAML, st.sampled_from([POD, STACK]))
def test_a_manifest_of_another_shape_is_a_sentence(key: str, value: object, text: str) -> None:
    """Whatever stands in the place of a key's value."""
    lines = text.splitlines()
    at = next((number for number, line in enumerate(lines) if line.strip().startswith(f"{key}:")), None)
    if at is None:
        return
    indent = len(lines[at]) - len(lines[at].lstrip())
    rest = [line for line in lines[at + 1 :] if len(line) - len(line.lstrip()) <= indent]
    lines = [*lines[:at], f"{' ' * indent}{key}: {json.dumps(value)}", *rest]

    done = doctor("-", stdin="\n".join(lines))

    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in {0, 1, 2}


def test_our_own_files_for_container_engines_find_nothing() -> None:
    """What the project hands out is what it would say. Patches of an overlay are no manifests of their own."""
    for path in (PROJECT / "docs" / "deploy").rglob("*.y*ml"):
        if path.name == "kustomization.yaml" or "overlays" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if "kind: Deployment" in text or "\nservices:" in text:
            beside = [str(found) for found in path.parent.glob("haproxy.cfg")]
            done = doctor(str(path), *beside)
            assert done.exit_code == 0, done.output
            assert "Nothing found" in done.stdout, done.output


@pytest.mark.parametrize(("language", "name"), [("haproxy", "haproxy.cfg"), ("nginx", "nginx.conf")])
def test_the_balancers_of_the_docs_find_nothing(language: str, name: str, files: Path) -> None:
    """With an instance that leaves as the page says."""
    page = (PROJECT / "docs" / "load-balancers.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (files / name).write_text(text)

    done = doctor(name, "--wait-unrouted", "1")

    assert done.exit_code == 0, done.output
    assert "Nothing found" in done.stdout, done.output


def test_the_unit_of_the_docs_finds_nothing() -> None:
    """It is the one that a real systemd runs in the tests."""
    page = (PROJECT / "docs" / "systemd.md").read_text(encoding="utf-8")
    for block in page.split("```ini\n")[1:]:
        text = block.partition("```")[0]
        if "[Service]" in text:
            done = doctor("-", stdin=text)
            assert done.exit_code == 0, done.output
            assert "will" not in done.stdout


@pytest.mark.parametrize(
    "more", [{}, {"socket": True}, {"template": True}, {"notify_reload": True, "watchdog": 10.0}]
)
@pytest.mark.parametrize(
    "options", [{}, {"grace": 90.0, "pre_stop": "shop:bye"}, {"lame_duck": 60.0}, {"wait_unrouted": 5.0}]
)
def test_the_unit_that_flaskd_prints_finds_nothing(more: dict[str, Any], options: dict[str, Any]) -> None:
    """It is made from the same settings."""
    wanted = UnitOptions(
        given=Given({"app": "shop:app", **options}),
        settings=Settings(app="shop:app", name="shop", **options),
        directory="/srv/shop",
        flaskd="/srv/shop/.venv/bin/flaskd",
        **more,
    )
    for name, text in units(wanted).items():
        if name.endswith(".service"):
            done = doctor("-", stdin=text)
            assert done.exit_code == 0, done.output
            assert "Nothing found" in done.stdout


def test_a_template_whose_command_line_names_no_application_is_read() -> None:
    """`flaskd systemd unit --template` makes such a one: the application stands in each directory's flaskd.toml."""
    options: dict[str, Any] = {"name": "%i"}
    wanted = UnitOptions(
        given=Given({"app": None, **options}),
        settings=Settings(**options),
        directory="/srv/%i",
        flaskd="/srv/%i/.venv/bin/flaskd",
        template=True,
    )
    (text,) = units(wanted).values()

    done = doctor("-", stdin=text)

    assert (done.exit_code, done.stderr) == (0, "")


def test_a_closed_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """`flaskd doctor - <&-`: Python has None there."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(Unreadable, match="cannot read -: standard input is closed"):
        examine(["-"], local={})


def test_rules_are_on_the_page() -> None:
    """Each with what it looks for."""
    page = (PROJECT / "docs" / "doctor.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.severity.value} | {rule.meaning} |" in page
