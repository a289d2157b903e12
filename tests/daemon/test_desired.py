from dataclasses import replace

import pytest

from lvskeeper.daemon.desired import (
    Prior,
    entries,
    local_addresses,
    local_pools,
    make_pool,
    prior_of,
    uses_fullnat,
)
from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    SynProxySpec,
    VirtualServerSpec,
)
from lvskeeper.daemon.state import Past
from lvskeeper.health.pool import Pool, QuorumLost
from lvskeeper.health.spec import (
    CheckKind,
    CheckSpec,
    Phase,
    ProbeResult,
    QuorumSpec,
    ScriptRun,
)
from lvskeeper.ipvs.overrides import Orders
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
    ServiceKey,
)
from lvskeeper.units import parse_address

VIP = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80)
VIP_443 = ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 443)
SERVERS = tuple(parse_address(f"10.0.0.{number}") for number in (1, 2, 3))


def real(number: int, *, port: int = 80, weight: int = 1, inhibit: bool = False) -> RealServerSpec:
    address = SERVERS[number]
    return RealServerSpec(
        address,
        port,
        Forward.FULLNAT,
        weight,
        inhibit_on_failure=inhibit,
        checks=(CheckSpec(CheckKind.TCP, address, port or 80),),
    )


def virtual(*servers: RealServerSpec, sorry: RealServerSpec | None = None) -> VirtualServerSpec:
    return VirtualServerSpec(
        "tcp 198.51.100.1:80", (VIP,), "rr", servers, pool="lips", sorry_server=sorry
    )


def table_with(*destinations: Destination) -> dict[ServiceKey, Entry]:
    return {VIP: Entry(Service(VIP, "rr"), {item.key: item for item in destinations})}


def kernel_dest(number: int, weight: int = 1) -> Destination:
    return Destination(DestKey(SERVERS[number], 80), Forward.NAT, weight)


def started(spec: VirtualServerSpec, prior: Prior | None = None) -> Pool[DestKey]:
    pool = make_pool(spec, 0.0, prior)
    pool.start()
    return pool


def fail(pool: Pool[DestKey], key: DestKey) -> None:
    check_id = next(item for item in pool.checkers if item.key == key)
    pool.on_start(check_id, 1.0)
    pool.on_result(check_id, ProbeResult(Phase.CONNECT, "connection refused"), 2.0)


def test_all_servers_serve_at_the_start() -> None:
    spec = virtual(real(0, weight=3), real(1))

    (entry,) = entries(spec, started(spec).serving(), None).values()

    assert [(str(item.key), item.weight) for item in entry.destinations.values()] == [
        ("10.0.0.1:80", 3),
        ("10.0.0.2:80", 1),
    ]


def test_a_down_server_leaves() -> None:
    spec = virtual(real(0), real(1))
    pool = started(spec)
    fail(pool, DestKey(SERVERS[0], 80))

    (entry,) = entries(spec, pool.serving(), None).values()

    assert list(entry.destinations) == [DestKey(SERVERS[1], 80)]


def test_a_down_server_with_inhibit_stays_with_weight_zero() -> None:
    spec = virtual(real(0, inhibit=True), real(1))
    pool = started(spec)
    fail(pool, DestKey(SERVERS[0], 80))

    (entry,) = entries(spec, pool.serving(), None).values()

    assert {str(key): item.weight for key, item in entry.destinations.items()} == {
        "10.0.0.1:80": 0,
        "10.0.0.2:80": 1,
    }


def test_the_sorry_server_serves_alone_without_quorum() -> None:
    spec = virtual(real(0), sorry=real(2))
    pool = started(spec)
    fail(pool, DestKey(SERVERS[0], 80))

    (entry,) = entries(spec, pool.serving(), None).values()

    assert list(entry.destinations) == [DestKey(SERVERS[2], 80)]


def test_a_sorry_server_that_is_a_real_server_too_is_there_once() -> None:
    spec = virtual(real(0, inhibit=True), sorry=real(0, weight=5))
    pool = started(spec)
    fail(pool, DestKey(SERVERS[0], 80))

    (entry,) = entries(spec, pool.serving(), None).values()

    assert [item.weight for item in entry.destinations.values()] == [5]


def test_port_zero_follows_the_service() -> None:
    spec = VirtualServerSpec("group web", (VIP, VIP_443), "rr", (real(0, port=0),))

    found = entries(spec, started(spec).serving(), None)

    assert [next(iter(entry.destinations)).port for entry in found.values()] == [80, 443]


def test_local_addresses_are_those_of_the_family() -> None:
    v6 = parse_address("fd00::10")
    spec = DirectorSpec(
        pools=(PoolSpec("lips", (LocalAddressSpec(SERVERS[0]), LocalAddressSpec(v6))),)
    )
    pool = local_pools(spec)["lips"]

    assert local_addresses(pool, Family.INET6) == (v6,)
    assert local_addresses(pool, Family.INET) == (SERVERS[0],)
    assert local_addresses(None, Family.INET) == ()


def test_service_attributes_are_carried() -> None:
    spec = VirtualServerSpec(
        "x",
        (VIP,),
        "wlc",
        (real(0),),
        flags=ServiceFlag.PERSISTENT,
        persistence=300,
        prefix=24,
        established=900,
        syn_proxy=SynProxySpec(),
    )

    (entry,) = entries(spec, started(spec).serving(), None).values()

    assert entry.service == Service(
        VIP, "wlc", ServiceFlag.PERSISTENT | ServiceFlag.SYNPROXY, 300, 24, "", 900
    )


def test_fullnat_of_the_sorry_server_alone_counts() -> None:
    nat = RealServerSpec(SERVERS[0], 80, Forward.NAT)

    assert not uses_fullnat(virtual(nat))
    assert uses_fullnat(virtual(nat, sorry=real(1)))


def test_no_prior_where_the_table_has_no_such_service() -> None:
    assert prior_of(virtual(real(0)), {}, None) is None


def test_a_server_absent_from_the_table_starts_as_down() -> None:
    spec = virtual(real(0), real(1))
    prior = prior_of(spec, table_with(kernel_dest(0)), None)

    assert prior == Prior(
        {DestKey(SERVERS[0], 80): True, DestKey(SERVERS[1], 80): False}, {}, True, 1, 1
    )
    (entry,) = entries(spec, started(spec, prior).serving(), None).values()
    assert list(entry.destinations) == [DestKey(SERVERS[0], 80)]


def test_an_inhibited_server_with_weight_zero_starts_as_down() -> None:
    spec = virtual(real(0, inhibit=True), real(1))
    prior = prior_of(spec, table_with(kernel_dest(0, weight=0), kernel_dest(1)), None)

    assert prior is not None
    assert prior.live == {DestKey(SERVERS[0], 80): False, DestKey(SERVERS[1], 80): True}


def test_an_inhibited_server_is_down_whatever_weight_is_ordered_in_place_of_zero() -> None:
    spec = virtual(real(0, weight=0, inhibit=True), real(1))
    orders = Orders({DestKey(SERVERS[0], 80): 5})
    prior = prior_of(spec, table_with(kernel_dest(0, weight=0), kernel_dest(1)), None, orders)

    assert prior is not None
    assert not prior.live[DestKey(SERVERS[0], 80)]


def test_a_weight_of_zero_without_inhibit_is_somebody_elses_edit() -> None:
    spec = virtual(real(0), real(1))
    prior = prior_of(spec, table_with(kernel_dest(0, weight=0), kernel_dest(1)), None)

    assert prior is not None
    assert prior.live[DestKey(SERVERS[0], 80)]


@pytest.mark.parametrize("weight", [4, 0])
def test_a_weight_that_a_check_gave_is_adopted_from_the_table(weight: int) -> None:
    script = ScriptRun(("/bin/true",), dynamic=True)
    check = CheckSpec(CheckKind.MISC, SERVERS[0], 80, script=script)
    spec = virtual(replace(real(0), weight=9, checks=(check,)), replace(real(1), weight=9))
    table = table_with(kernel_dest(0, weight=weight), kernel_dest(1, weight=4))
    prior = prior_of(spec, table, None)

    (entry,) = entries(spec, started(spec, prior).serving(), None).values()
    assert [dest.weight for dest in entry.destinations.values()] == [weight, 9]


def test_the_weight_of_one_that_is_down_and_stays_in_the_table_is_not_adopted() -> None:
    script = ScriptRun(("/bin/true",), dynamic=True)
    check = CheckSpec(CheckKind.MISC, SERVERS[0], 80, script=script)
    spec = virtual(replace(real(0), weight=9, checks=(check,), inhibit_on_failure=True))
    prior = prior_of(spec, table_with(kernel_dest(0, weight=0)), None)

    assert prior is not None
    assert prior.live == {DestKey(SERVERS[0], 80): False}
    assert prior.weights == {}


def test_a_sorry_server_in_the_table_means_no_quorum() -> None:
    spec = virtual(real(0), sorry=real(2))
    prior = prior_of(spec, table_with(kernel_dest(2)), None)

    assert prior is not None
    assert not prior.had_quorum
    (entry,) = entries(spec, started(spec, prior).serving(), None).values()
    assert list(entry.destinations) == [DestKey(SERVERS[2], 80)]


def test_a_server_that_an_earlier_director_did_not_know_is_new_not_down() -> None:
    spec = virtual(real(0), real(1), real(2))
    past = Past(had_quorum=True, servers=(DestKey(SERVERS[0], 80), DestKey(SERVERS[1], 80)))
    prior = prior_of(spec, table_with(kernel_dest(0)), past)

    assert prior is not None
    assert prior.live == {DestKey(SERVERS[0], 80): True, DestKey(SERVERS[1], 80): False}
    (entry,) = entries(spec, started(spec, prior).serving(), None).values()
    assert list(entry.destinations) == [DestKey(SERVERS[0], 80), DestKey(SERVERS[2], 80)]


def test_a_quorum_that_was_lost_before_is_not_lost_again() -> None:
    spec = VirtualServerSpec("x", (VIP,), "rr", (real(0), real(1)), quorum=QuorumSpec(2))
    table = table_with(kernel_dest(0))
    without_note = prior_of(spec, table, None)
    noted = prior_of(spec, table, Past(had_quorum=False, servers=()))

    for prior in (without_note, noted):
        assert prior is not None
        pool = make_pool(spec, 0.0, prior)
        assert not any(isinstance(effect, QuorumLost) for effect in pool.start())


def test_quorum_follows_the_configuration() -> None:
    spec = VirtualServerSpec(
        "x", (VIP,), "rr", (real(0), real(1)), quorum=QuorumSpec(2), sorry_server=real(2)
    )
    pool = started(spec)
    fail(pool, DestKey(SERVERS[0], 80))

    (entry,) = entries(spec, pool.serving(), None).values()

    assert list(entry.destinations) == [DestKey(SERVERS[2], 80)]
