"""What --target means, and what is said of a configuration file that does not fit."""

from pathlib import Path

import pytest

from flaskd_ctl.contract.endpoint import Endpoint
from flaskd_ctl.discovery.config import Config, TargetConfig, config_path, read_config, ssh_ways
from flaskd_ctl.discovery.instances import Instances
from flaskd_ctl.discovery.targets import Keys, choose, known_names
from flaskd_ctl.errors import InvalidParams, NotRunning
from tests.flaskd_ctl.conftest import Ctl
from tests.flaskd_ctl.fake import Fake

GOOD = """
ssh_command = ["ssh", "-F", "cfg"]
[targets.web1]
endpoint = "ssh://deploy@web1:2200/shop"
remote_command = ["/opt/bin/flaskd_ctl"]
[targets.web2]
endpoint = "ssh://web2"
name = "shop"
[targets.far]
endpoint = "tcp://10.0.0.1:7400"
key = "ops.key_secret"
server_key = "/etc/web.key"
[targets.here]
name = "jobs"
[groups]
web = ["web1", "web2"]
mixed = ["here", "ssh://web3/shop"]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ctl.toml"
    monkeypatch.setenv("FLASKD_CTL_CONFIG", str(path))
    return path


# --- the configuration file ---


def test_a_file_is_read_as_it_is_written(config: Path) -> None:
    """A name may stand beside an ssh endpoint, and keys are looked for beside the file."""
    config.write_text(GOOD)

    read = read_config()

    assert read.targets == {
        "web1": TargetConfig("ssh://deploy@web1:2200/shop", remote_command=("/opt/bin/flaskd_ctl",)),
        "web2": TargetConfig("ssh://web2/shop", "shop"),
        "far": TargetConfig("tcp://10.0.0.1:7400", "", str(config.parent / "ops.key_secret"), "/etc/web.key"),
        "here": TargetConfig(name="jobs"),
    }
    assert read.groups == {"web": ("web1", "web2"), "mixed": ("here", "ssh://web3/shop")}
    assert ssh_ways(read.targets["web1"].remote_command) == (("ssh", "-F", "cfg"), ("/opt/bin/flaskd_ctl",))
    assert ssh_ways() == (("ssh", "-F", "cfg"), ("flaskd_ctl",))


def test_no_file_is_an_empty_one_unless_it_was_named(config: Path, tmp_path: Path) -> None:
    assert read_config({"XDG_CONFIG_HOME": str(tmp_path)}) == Config(str(tmp_path / "flaskd" / "ctl.toml"))
    with pytest.raises(InvalidParams, match=r"ctl.toml does not exist"):
        read_config()


def test_the_place_is_the_users_configuration_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert config_path({}) == "/home/ann/.config/flaskd/ctl.toml"
    assert config_path({"XDG_CONFIG_HOME": "/c"}) == "/c/flaskd/ctl.toml"
    assert config_path({"XDG_CONFIG_HOME": "/c", "FLASKD_CTL_CONFIG": "/x.toml"}) == "/x.toml"


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("targets = [", "", "is not TOML"),
        ("colour = 1", "colour", "is not known"),
        ("[targets.a]\nendpiont = 'ssh://a'", "targets.a.endpiont", "is not known"),
        ("[targets]\na = 1", "targets.a", "is not a table"),
        ("targets = 1", "targets", "is not a table"),
        ("[targets.a]", "targets.a", "has neither an endpoint nor the name"),
        ("[targets.a]\nname = 1", "targets.a.name", "is not a string"),
        ("[targets.a]\nname = 'b c'", "targets.a.name", "'b c' cannot name an instance"),
        ("[targets.a]\nendpoint = 'http://a'", "targets.a.endpoint", "'http://a' is not an endpoint"),
        ("[targets.a]\nendpoint = 'ssh://-a/b'", "targets.a.endpoint", "not a host name or address"),
        ("[targets.a]\nendpoint = 'ssh://a/b'\nname = 'c'", "targets.a.name", "the endpoint says 'b'"),
        ("[targets.a]\nname = 'b'\nremote_command = ['x']", "targets.a.remote_command", "is for ssh:// only"),
        ("[targets.a]\nendpoint = 'ssh://a'\nremote_command = 'x'", "targets.a.remote_command", "not a list"),
        ("ssh_command = []", "ssh_command", "not a list of one or more strings"),
        ("[groups]\nweb = ['web1']", "groups.web", "has 'web1', which is not a target"),
        ("[groups]\nweb = ['ftp://web1']", "groups.web", "'ftp://web1' is not an endpoint"),
        ("[groups]\nweb = 'web1'", "groups.web", "not a list"),
        ("[targets.a]\nname = 'b'\n[groups]\na = ['a']", "groups.a", "is the name of a target too"),
        ("[targets.-a]\nname = 'b'", "targets", "cannot be given to --target"),
    ],
)
def test_what_does_not_fit_is_exit_2_with_its_place(
    config: Path, ctl: Ctl, text: str, where: str, said: str
) -> None:
    """A misspelt word would leave hosts out, so nothing is asked of anybody."""
    config.write_text(text)

    code, out, err = ctl("-t", "a", "status")

    assert (code, out) == (2, "")
    assert str(config) in err
    assert where in err
    assert said in err


# --- what is meant ---


def labels(*names: str) -> tuple[list[str], bool]:
    chosen, several = choose(names, Instances(), keys=Keys())
    return [target.label for target in chosen], several


def test_groups_stand_for_their_members_and_nobody_is_meant_twice(config: Path) -> None:
    config.write_text(GOOD)

    assert labels("web") == (["web1", "web2"], True)
    assert labels("web2", "web", "web1") == (["web2", "web1"], True)
    assert labels("web1") == (["web1"], False)
    assert labels("ssh://x/y") == (["ssh://x/y"], False)


def test_a_group_of_one_is_still_several(config: Path) -> None:
    """The form of the output does not depend on how many hosts there are today."""
    config.write_text("[targets.a]\nname = 'shop'\n[groups]\nall = ['a']")

    assert labels("all") == (["a"], True)


def test_a_target_brings_its_endpoint_its_keys_and_its_command(config: Path) -> None:
    config.write_text(GOOD)
    chosen, _ = choose(["web1", "far"], Instances(), keys=Keys("/other", "/other"))

    web1, far = (target.find() for target in chosen)

    assert (web1.name, web1.endpoint) == ("web1", Endpoint("ssh", "deploy@web1:2200/shop"))
    assert web1.remote_command == ("/opt/bin/flaskd_ctl",)
    assert (far.name, far.endpoint) == ("far", Endpoint("tcp", "10.0.0.1:7400"))
    assert (far.key, far.server_key) == (str(config.parent / "ops.key_secret"), "/etc/web.key")


def test_a_name_that_is_nobodys_says_where_it_was_looked_for(config: Path) -> None:
    config.write_text(GOOD)
    ((target,), _) = choose(["web9"], Instances(), keys=Keys())

    with pytest.raises(NotRunning) as error:
        target.find()

    assert "ctl.toml has no target or group web9" in error.value.hint


@pytest.mark.parametrize("wrong", ["a b", "http://x/y", "tcp://10.0.0.1:7400", "ssh://-x/y"])
def test_what_cannot_be_a_target_is_said_before_anything_is_done(fake: Fake, ctl: Ctl, wrong: str) -> None:
    """A key that is missing, too: half of a rolling change is no place to find out."""
    code, out, _ = ctl("-t", "shop", "-t", wrong, "reload")

    assert (code, out) == (2, "")
    assert fake.calls == []


@pytest.mark.parametrize(
    "more", [("--name", "shop"), ("--endpoint", "unix:///x/sock"), ("list",), ("completion", "bash")]
)
def test_targets_do_not_go_together_with_others(ctl: Ctl, more: tuple[str, ...]) -> None:
    code, out, err = ctl("-t", "shop", *more, *([] if more[0][0] != "-" else ["ping"]))

    assert (code, out) == (2, "")
    assert "--target does not go together with" in err


def test_one_target_is_operated_as_by_its_name(fake: Fake, ctl: Ctl) -> None:
    assert ctl("-t", "shop", "status", "--json") == ctl("--name", "shop", "status", "--json")


def test_targets_and_groups_are_completed(config: Path, fake: Fake) -> None:
    config.write_text(GOOD)
    assert known_names(Instances()) == ["far", "here", "mixed", "shop", "web", "web1", "web2"]
    config.write_text("[")
    assert known_names(Instances()) == ["shop"]


def test_the_file_on_the_page_is_one(config: Path) -> None:
    """What people copy works."""
    page = (Path(__file__).parents[3] / "docs" / "other-hosts.md").read_text()
    section = page.split("### The client's configuration file")[1]
    config.write_text(section.split("```toml\n")[1].split("```")[0])

    read = read_config()

    assert read.groups == {"web": ("web1", "web2", "web3")}
    assert read.targets["web2"].endpoint == "ssh://web2/shop"
    assert read.targets["web3"].key == str(config.parent / "keys/ops.key_secret")
