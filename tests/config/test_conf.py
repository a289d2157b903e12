"""The examples in conf/ load, mean what they say, and read the same in YAML."""

from pathlib import Path

import pytest

from lvskeeper.config.load import load
from lvskeeper.config.model import Config
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.roles import DefenceSpec, SynProxySpec, TcpDefence
from lvskeeper.kernel.files import LocalFiles

CONF = Path(__file__).parents[2] / "conf"
PAIR = ("pair/director1.conf", "pair/director2.conf")
"""The other files in there are read by these."""
EXAMPLES = sorted({path.name for path in CONF.iterdir() if path.is_file()} | {*PAIR})


def config_of(name: str) -> Config:
    loaded = load(str(CONF / name), LocalFiles())
    assert loaded.diagnostics == ()
    assert loaded.config is not None
    return loaded.config


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads_without_a_word(name: str) -> None:
    assert config_of(name).virtual_servers


def test_the_pair_differs_where_it_says() -> None:
    first, second = (config_of(name) for name in PAIR)
    assert first.virtual_servers == second.virtual_servers
    assert first.vrrp is not None
    assert second.vrrp is not None
    assert [one.priority for one in first.vrrp.instances] == [150, 150]
    alike = [one.model_copy(update={"priority": 100}) for one in first.vrrp.instances]
    assert first.vrrp.model_copy(update={"instances": tuple(alike)}) == second.vrrp
    assert first.vrrp.globals == second.vrrp.globals
    ((ours,), (theirs,)) = first.local_address_groups, second.local_address_groups
    assert not {*ours.addresses} & {*theirs.addresses}


@pytest.mark.parametrize("name", ["checks", "fullnat", "synproxy"])
def test_yaml_is_the_same_model(name: str) -> None:
    assert config_of(f"{name}.yaml") == config_of(f"{name}.conf")


def test_the_services_of_synproxy_are_defended_in_both_families() -> None:
    four, six = compile_director(config_of("synproxy.conf")).virtual_servers
    assert (four.syn_proxy, four.ports) == (SynProxySpec(), (10_000, 65_535))
    assert (six.syn_proxy, six.ports) == (SynProxySpec(mss=1420), None)
    assert four.defence == DefenceSpec(TcpDefence.VIP, udp=True, fragments=True)
    assert six.defence == DefenceSpec(TcpDefence.SERVICE, udp=True, fragments=True)


def test_first_example_is_what_it_looks_like() -> None:
    (server,) = config_of("first.conf").virtual_servers
    assert (server.lb_algo, server.lb_kind.method, server.protocol) == ("rr", "NAT", "TCP")
    assert server.delay_loop == 5.0
    assert [one.port for one in server.real_servers] == [8080, 8080]
    assert all(one.checks[0].kind == "TCP_CHECK" for one in server.real_servers)
