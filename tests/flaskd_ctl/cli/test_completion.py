"""Completion through click's own machinery: scripts for three shells, commands, options, names of instances."""

import os
import subprocess
import sys

import pytest

from tests.flaskd_ctl.conftest import Ctl, StartFake
from tests.support.needs import requires

SHELLS = {"bash": "complete -o nosort -F", "zsh": "#compdef flaskd_ctl", "fish": "complete --no-files"}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed(ctl: Ctl, shell: str) -> None:
    code, out, err = ctl("completion", shell)

    assert (code, err) == (0, "")
    assert SHELLS[shell] in out
    assert "_FLASKD_CTL_COMPLETE" in out


@requires("bash")
def test_a_real_bash_completes(start_fake: StartFake) -> None:
    start_fake("shop")
    script = """
        eval "$(flaskd_ctl completion bash)"
        COMP_WORDS=(flaskd_ctl shutdown --name s) COMP_CWORD=3
        _flaskd_ctl_completion flaskd_ctl
        echo "${COMPREPLY[@]}"
    """
    environ = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}

    ran = subprocess.run(
        ["bash", "-ec", script], env=environ, capture_output=True, text=True, timeout=30, check=False
    )

    assert (ran.stdout, ran.stderr) == ("shop\n", "")


COMMANDS = [
    {
        "name": "cache.clear",
        "summary": "Forget \x1b[2J it.",
        "params": {
            "properties": {"region": {"$ref": "#/$defs/Region"}, "dry_run": {"type": "boolean"}},
            "$defs": {"Region": {"enum": ["eu", "us"]}},
        },
    },
    {"name": "cache.warm", "params": {"properties": {}}},
]


@requires("bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("call ca", "cache.clear cache.warm"),
        ("call nope", ""),
        ("call cache.clear r", "region="),
        ("call cache.clear region =", "eu us"),
        ("call cache.clear region = u", "us"),
        ("call cache.clear dry_run = t", "true"),
        ("call cache.warm r", ""),
        ("call unknown r", ""),
    ],
)
def test_commands_of_the_application_are_completed(start_fake: StartFake, words: str, expected: str) -> None:
    """From what the instance declares; bash takes = for the end of a word."""
    start_fake("shop").on("describe", lambda call: call.reply({"x-application-commands": COMMANDS}))
    script = f"""
        eval "$(flaskd_ctl completion bash)"
        COMP_WORDS=(flaskd_ctl {words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _flaskd_ctl_completion flaskd_ctl
        echo "${{COMPREPLY[@]}}"
    """
    environ = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}

    ran = subprocess.run(
        ["bash", "-ec", script], env=environ, capture_output=True, text=True, timeout=30, check=False
    )

    assert (ran.stdout.strip(), ran.stderr) == (expected, "")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("flaskd_ctl st", {"status"}),
        ("flaskd_ctl --name s", {"shop"}),
        ("flaskd_ctl shutdown --name b", {"blog"}),
        ("flaskd_ctl shutdown --gr", {"--grace"}),
        ("flaskd_ctl rest", {"restart-worker"}),
        ("flaskd_ctl reload --ch", {"--check"}),
        ("flaskd_ctl scale --no", {"--no-wait"}),
        ("flaskd_ctl wait --for r", {"ready", "running"}),
    ],
)
def test_the_shell_is_told_what_may_follow(
    start_fake: StartFake, shell: str, words: str, expected: set[str]
) -> None:
    shop, blog = start_fake("shop"), start_fake("blog")
    last = words.split()[-1] if shell == "fish" else str(len(words.split()) - 1)
    environ = {
        **os.environ,
        "_FLASKD_CTL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": last,
    }

    ran = subprocess.run(
        [sys.executable, "-m", "flaskd_ctl"], env=environ, capture_output=True, text=True, timeout=30
    )

    offered = {
        word.strip() for line in ran.stdout.splitlines() for word in line.replace("\t", ",").split(",")
    }
    assert (ran.returncode, ran.stderr) == (0, "")
    assert expected <= offered
    assert not {"drain", "--missing-ok", "idle"} & offered
    assert shop.calls == blog.calls == []
