"""From the director's configuration to its nftables ruleset."""

from dataclasses import replace

import pytest

from lvskeeper.daemon.roles import (
    DefenceSpec,
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    StateSyncSpec,
    SynProxySpec,
    TcpDefence,
    VirtualServerSpec,
)
from lvskeeper.daemon.ruleset import EMPTY, ruleset_of, summary, union
from lvskeeper.fullnat.ruleset import Source
from lvskeeper.fullnat.synproxy import SynProxy
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.units import parse_address

VIP, VIP6 = parse_address("198.51.100.1"), parse_address("2001:db8:f::1")
WEB = ServiceKey(Family.INET, Protocol.TCP, VIP, 80)
WEB6 = ServiceKey(Family.INET6, Protocol.TCP, VIP6, 80)
MARK = ServiceKey(Family.INET, Protocol.TCP, fwmark=7)
LIPS = PoolSpec("lips", tuple(map(LocalAddressSpec, map(parse_address, ("10.0.0.9", "fd00::9")))))
COOKIES = SynProxySpec()


def director(
    *keys: ServiceKey,
    forward: Forward = Forward.FULLNAT,
    ports: tuple[int, int] | None = None,
    cookies: SynProxySpec | None = None,
    defence: DefenceSpec | None = None,
) -> DirectorSpec:
    server = RealServerSpec(parse_address("10.1.1.2"), 80, forward)
    pool = "lips" if forward is Forward.FULLNAT else ""
    virtual = VirtualServerSpec(
        str(keys[0]), keys, "rr", (server,), pool=pool, ports=ports, syn_proxy=cookies,
        defence=defence or DefenceSpec(),
    )  # fmt: skip
    return DirectorSpec(virtual_servers=(virtual,), pools=(LIPS,))


def test_a_range_of_ports_goes_with_the_pool() -> None:
    ruleset = ruleset_of(director(WEB, ports=(5000, 5999)))
    assert ruleset.services == {WEB: Source("lips", (5000, 5999))}


def test_a_server_by_dr_in_a_fullnat_service_is_left_alone_while_it_is_there() -> None:
    plain = director(WEB)
    (virtual,) = plain.virtual_servers
    near = RealServerSpec(parse_address("192.0.2.7"), 80, Forward.DR)
    mixed = replace(plain, virtual_servers=(replace(virtual, sorry_server=near),))
    assert not ruleset_of(plain).direct
    assert ruleset_of(mixed).direct
    assert not ruleset_of(director(WEB, forward=Forward.DR)).direct
    assert union(ruleset_of(mixed), ruleset_of(plain)).direct


@pytest.mark.parametrize("forward", [Forward.NAT, Forward.FULLNAT])
def test_cookies_promise_what_is_known_best(forward: Forward) -> None:
    spec = director(WEB, WEB6, MARK, forward=forward, cookies=COOKIES)
    assert ruleset_of(spec).cookies.proxied == {WEB: SynProxy(1460), WEB6: SynProxy(1440)}
    measured = {WEB: (1400, 10)}
    assert ruleset_of(spec, measured).cookies.proxied[WEB] == SynProxy(1400, 10)
    fixed = director(WEB, forward=forward, cookies=SynProxySpec(1300, 3, timestamp=False))
    assert ruleset_of(fixed, measured).cookies.proxied[WEB] == SynProxy(1300, 3, timestamp=False)


def test_segments_count_as_stray_only_where_conntrack_sees_both_ways() -> None:
    wanted = DefenceSpec(TcpDefence.VIP)
    for forward, strays in ((Forward.NAT, {WEB}), (Forward.DR, set()), (Forward.TUN, set())):
        defences = ruleset_of(director(WEB, forward=forward, defence=wanted)).defences
        assert defences.strays == strays
        assert defences.closed == {VIP}
    by_mark = ruleset_of(director(MARK, defence=DefenceSpec(TcpDefence.VIP, udp=True)))
    assert not by_mark.defences.used


def held(*specs: DirectorSpec, sync: StateSyncSpec | None) -> tuple[set[bytes], set[bytes]]:
    virtuals = tuple(virtual for spec in specs for virtual in spec.virtual_servers)
    spec = replace(specs[0], virtual_servers=virtuals, state_sync=sync)
    hold = ruleset_of(spec).hold
    return set(hold.vips), set(hold.lips)


def test_lips_and_vips_are_held_where_connections_come_from_a_peer() -> None:
    spec, lips = director(WEB, WEB6), {parse_address("10.0.0.9"), parse_address("fd00::9")}
    assert held(spec, sync=StateSyncSpec("eth2")) == ({VIP, VIP6}, lips)
    assert held(director(WEB, forward=Forward.NAT), sync=StateSyncSpec()) == ({VIP}, set())
    assert held(spec, sync=StateSyncSpec("eth2", hold=0.0)) == (set(), set())
    assert held(spec, sync=None) == (set(), set())


def test_an_address_with_a_service_whose_answers_pass_us_by_is_not_held() -> None:
    sync = StateSyncSpec("eth2")
    elsewhere = director(replace(WEB, port=81), forward=Forward.DR)
    assert held(director(WEB, WEB6), elsewhere, sync=sync)[0] == {VIP6}
    assert held(director(WEB), director(MARK, forward=Forward.DR), sync=sync)[0] == set()
    assert held(director(WEB), director(MARK, forward=Forward.NAT), sync=sync)[0] == {VIP}


def test_between_two_configurations_the_services_of_both_are_there() -> None:
    old = ruleset_of(director(WEB, cookies=COOKIES, defence=DefenceSpec(fragments=True)))
    new = ruleset_of(director(WEB6, cookies=COOKIES))
    between = union(old, new)
    assert between.services.keys() == between.cookies.proxied.keys() == {WEB, WEB6}
    assert not between.defences.used
    assert union(EMPTY, new) == new


def test_the_summary_counts_what_there_is() -> None:
    spec = director(WEB, WEB6, cookies=COOKIES, defence=DefenceSpec(TcpDefence.SERVICE, udp=True))
    assert summary(ruleset_of(spec)) == (
        "services with FULLNAT: 2, services with SYNPROXY: 2,"
        " services defended against stray TCP segments: 2, addresses defended against UDP: 2"
    )
