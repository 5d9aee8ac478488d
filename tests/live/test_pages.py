"""The pages of Start, Develop, Deploy, Operate and Observe, from top to bottom: each file is written, each command is run, and
prints what the page shows. A command that is not run here is named below, with who runs it or why nobody can.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.booted import Machine
from tests.support.needs import requires
from tests.support.pages import Reader, steps
from tests.support.service import BIN, ENVIRONMENT, PROGRAMS, PROJECT, SITE, SOURCE, make_environment

SECTIONS: Final = ("Start", "Develop", "Deploy", "Operate", "Observe")

NETWORK: Final = "needs a package index: .ci/package.py runs the commands of docs/install.md"
SSH: Final = "tests/live/test_ssh.py does it with an sshd"
LOAD: Final = "tests/live/test_autoscale.py does it under load"

PAGES_ELSEWHERE: Final[Mapping[str, str]] = {
    "install": NETWORK,
    "systemd": "tests/live/test_systemd.py runs it on a systemd, under load",
    "other-languages": "tests/live/test_other_languages.py runs it",
    "engines": "needs a granian of the future: tests/flaskd/engines/test_granian_engine.py pretends to have one",
    "containers": "tests/live/test_docker.py runs it on a dockerd, tests/live/test_swarm.py in a swarm",
    "access": "tests/live/test_access.py asks as other users",
    "my-site-is-slow": "tests/live/test_my_site_is_slow.py runs it, under load",
    "stacks-and-profiles": "tests/live/test_stacks.py and tests/live/test_profile.py look at threads that stand still",
    "top": "needs a terminal: tests/live/test_top.py has one",
    "web": "needs a browser: tests/live/test_web_server.py and tests/live/test_web_page.py have one",
    "logs": "tests/live/test_logs.py reads them, tests/live/test_audit_journal.py the journal",
    "audit": "tests/live/test_audit.py reads it, tests/live/test_audit_journal.py under systemd",
    "kubernetes": "no cluster: tests/docs/test_kubernetes.py checks the manifests, and does what probes and hook say",
}
"""Pages of which no command is run here."""

COMMANDS_ELSEWHERE: Final[Mapping[str, Mapping[str, str]]] = {
    "index": {"pip install 'flaskd[granian]'": NETWORK},
    "tutorial": {
        "python3 -m venv .venv": NETWORK,
        ".venv/bin/pip install 'flaskd[dev]' pytest": NETWORK,
    },
    "tutorial-gunicorn": {".venv/bin/pip install 'flaskd[granian]'": NETWORK},
    "develop": {"pip install 'flaskd[dev]'": NETWORK},
    "clients": {
        'eval "$(flaskd_ctl completion zsh)"': "needs zsh: tests/flaskd_ctl/cli/test_completion.py reads the script"
    },
    "workers": {
        "docker run --cpus 2 --memory 256m … flaskd check shop:app --workers auto": (
            "tests/live/test_autoscale.py does it in a control group"
        ),
        "flaskd_ctl status": LOAD,
        "flaskd_ctl events": LOAD,
        "flaskd check --preload shop:app": (
            "needs a server to connect to: tests/live/test_preload_hazards.py has one"
        ),
    },
    "upgrading": {
        "python3 -m venv new": NETWORK,
        "new/bin/pip install -r requirements.txt 'flaskd[granian]'": NETWORK,
    },
    "tuning": {"flaskd_ctl info": "tests/live/test_info.py does it with two releases of an application"},
    "observe": {"flaskd_ctl events": "tests/live/test_watch.py follows them until the end"},
    "other-hosts": {
        "flaskd_ctl --endpoint ssh://deploy@web1.example.org/shop status": SSH,
        "flaskd_ctl -t ssh://web1/shop reload": SSH,
        "ansible-playbook -i inventory.ini rolling-reload.yml -e release=2026-11-22": (
            "tests/live/test_ansible.py runs it on two hosts"
        ),
    },
}
"""By page, commands that are not run here."""

SHOP: Final = """
```python
# shop.py
from flask import Flask

app = Flask(__name__)


@app.get("/")
def front():
    return "hello"


@app.get("/health")
def health():
    return "well"
```
"""
"""What a page takes for granted, unless it has a shop.py of its own."""


def text(page: str) -> str:
    return (PROJECT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def pages() -> Iterator[str]:
    """Yield the pages of these sections that show a command."""
    navigation = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    for name, entries in ((name, entries) for section in navigation for name, entries in section.items()):
        for entry in entries if name in SECTIONS else []:
            (page,) = (file.removesuffix(".md") for file in entry.values())
            if any(step.kind in {"$", "#"} for step in steps(text(page))):
                yield page


PAGES: Final = tuple(pages())


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine that has a directory /srv/shop with an environment in it, and a user anna."""
    binds = [(str(PROJECT), SOURCE), (sys.prefix, ENVIRONMENT)]
    with Machine(binds, open_for_all=(sys.base_prefix,)) as machine:
        machine.run("useradd", "--create-home", "--uid", "7000", "anna")
        machine.run("install", "-d", "-o", "anna", "-g", "anna", "-m", "700", "/run/user/7000")
        machine.run("install", "-d", SITE)
        programs = {
            "gunicorn": "gunicorn.app.wsgiapp:run",
            "pytest": "pytest:main",
            "flask": "flask.cli:main",
        }
        make_environment(Path(f"{machine.root}{SITE}/.venv"), PROGRAMS | programs)
        yield machine


@pytest.mark.live
@pytest.mark.systemd
@requires("root", "systemd", "curl")
@pytest.mark.timeout(290)
@pytest.mark.parametrize("page", [page for page in PAGES if page not in PAGES_ELSEWHERE])
def test_commands_of_the_page_print_what_it_shows(machine: Machine, page: str) -> None:
    """Nothing is left out, except what is named above."""
    user, environ = "anna", {"HOME": "/home/anna", "XDG_RUNTIME_DIR": "/run/user/7000"}
    given = SHOP
    environ["PATH"] = f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
    if page.startswith("tutorial"):  # they begin with an empty directory, and lead to a service of this user
        user, environ, given = "web", {"HOME": SITE}, ""
    machine.run("chown", f"{user}:{user}", SITE)

    with Reader(machine, SITE, user=user, environ=environ) as reader:
        reader.follow(given)
        reader.follow(text(page), elsewhere=COMMANDS_ELSEWHERE.get(page, {}))


def test_whatever_is_not_run_is_on_a_page_and_says_why() -> None:
    """An entry that has lost its page hides nothing; a test that a reason names is there."""
    assert set(PAGES_ELSEWHERE) <= set(PAGES)
    assert set(COMMANDS_ELSEWHERE) <= set(PAGES) - set(PAGES_ELSEWHERE)
    reasons = [
        *PAGES_ELSEWHERE.values(),
        *(each for page in COMMANDS_ELSEWHERE.values() for each in page.values()),
    ]
    for reason in reasons:
        files = re.findall(r"[\w./]+\.py", reason)
        assert files, reason
        assert all((PROJECT / file).exists() for file in files), reason
