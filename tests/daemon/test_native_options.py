from dataclasses import replace

from lvskeeper.daemon.native_options import passed_over
from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    SynProxySpec,
    TcpDefence,
    VirtualServerSpec,
)
from lvskeeper.ipvs.sysctl_table import SYSCTLS
from lvskeeper.observe.fullnat_events import OptionsPassedOver

PLAIN = VirtualServerSpec("tcp 192.0.2.1:80", (), "rr", (), syn_proxy=SynProxySpec())
ALL = replace(
    PLAIN,
    name="tcp 192.0.2.2:80",
    ports=(5000, 6000),
    syn_proxy=SynProxySpec(1400, 5, timestamp=False, sack=False),
    defence=DefenceSpec(TcpDefence.SERVICE, udp=True, fragments=True),
)


def test_defaults_are_not_told() -> None:
    spec = DirectorSpec(virtual_servers=(PLAIN, replace(PLAIN, syn_proxy=None)))
    assert passed_over(spec) == []


def test_each_option_is_told_once_with_its_virtual_servers() -> None:
    several = tuple(replace(PLAIN, name=str(number), ports=(1024, 2048)) for number in range(7))
    told = passed_over(DirectorSpec(virtual_servers=(*several, PLAIN)))
    assert told == [
        OptionsPassedOver(
            "laddr_ports", "0, 1, 2, 3, 4 and 2 more", "fullnat_lport_min, fullnat_lport_max"
        )
    ]


def test_every_option_has_settings_in_its_place_that_such_kernels_have() -> None:
    told = passed_over(DirectorSpec(virtual_servers=(ALL, PLAIN)))
    assert [event.option for event in told] == [
        "laddr_ports", "syn_proxy_mss", "syn_proxy_wscale", "syn_proxy_timestamp",
        "syn_proxy_sack", "defence_tcp_drop", "defence_udp_drop", "defence_frag_drop",
    ]  # fmt: skip
    assert {event.virtual_servers for event in told} == {ALL.name}
    assert {name for event in told for name in event.settings.split(", ")} <= SYSCTLS.keys()
