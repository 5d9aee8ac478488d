"""The name of a Server: no two that ask for a free port share one, and nothing stays of it."""

import os

import pytest
from flask import Flask

from flaskd import Server
from flaskd.errors import NameTaken
from flaskd.listening.addresses import any_port
from flaskd_ctl import Client
from flaskd_ctl.contract.endpoint import check_name


@pytest.mark.parametrize(
    ("address", "free"),
    [
        ("127.0.0.1:0", True),
        ("0", True),
        ("[::1]:00", True),
        ("127.0.0.1:80", False),
        ("unix:/tmp/a:0", False),
    ],
)
def test_port_0_is_any_port(address: str, free: bool) -> None:
    """A path may end so, too."""
    assert any_port(address) is free


def test_servers_of_one_application_run_beside_each_other(runtime_dir: str) -> None:
    """As in a test suite, while a development server runs; each can be asked by its own name."""
    with Server(Flask("shop"), bind="127.0.0.1:0", name="shop"):
        with (
            Server(Flask("shop"), bind="127.0.0.1:0") as one,
            Server(Flask("shop"), bind="127.0.0.1:0") as two,
        ):
            assert len({"shop", one.name, two.name}) == 3
            for server in (one, two):
                assert server.name.startswith(f"shop-{os.getpid()}")
                with Client(server.name) as client:
                    assert client.status().listeners == server.listeners
        with pytest.raises(NameTaken), Server(Flask("shop"), bind="127.0.0.1:0", name="shop"):
            pass
    assert os.listdir(runtime_dir) == []
    assert os.listdir(os.path.join(os.environ["XDG_STATE_HOME"], "flaskd")) == ["shop.json"]


def test_a_fixed_port_keeps_the_applications_name() -> None:
    """By which people find it."""
    assert Server(Flask("shop"), bind=("127.0.0.1:0", "127.0.0.1:8000")).name == "shop"
    assert Server(Flask("shop")).name == "shop"


def test_a_long_name_is_cut_where_it_matters_less() -> None:
    """Names have 64 characters."""
    name = Server(Flask("s" * 100), bind="127.0.0.1:0").name
    assert check_name(name).startswith("sss")
    assert f"-{os.getpid()}" in name
