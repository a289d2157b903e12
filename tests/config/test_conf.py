"""The examples in conf/ load, mean what they say, and read the same in YAML."""

from pathlib import Path

import pytest

from lvskeeper.config.load import load
from lvskeeper.config.model import Config
from lvskeeper.kernel.files import LocalFiles

CONF = Path(__file__).parents[2] / "conf"


def config_of(name: str) -> Config:
    loaded = load(str(CONF / name), LocalFiles())
    assert loaded.diagnostics == ()
    assert loaded.config is not None
    return loaded.config


@pytest.mark.parametrize("path", sorted(CONF.iterdir()), ids=lambda path: path.name)
def test_every_example_loads_without_a_word(path: Path) -> None:
    assert config_of(path.name).virtual_servers


def test_yaml_is_the_same_model() -> None:
    assert config_of("fullnat.yaml") == config_of("fullnat.conf")


def test_first_example_is_what_it_looks_like() -> None:
    (server,) = config_of("first.conf").virtual_servers
    assert (server.lb_algo, server.lb_kind.method, server.protocol) == ("rr", "NAT", "TCP")
    assert server.delay_loop == 5.0
    assert [one.port for one in server.real_servers] == [8080, 8080]
    assert all(one.checks[0].kind == "TCP_CHECK" for one in server.real_servers)
