"""Connection tracking of a network namespace, with nft for what IPVS does to a connection."""

from collections.abc import Iterator

import pytest
from support.fullnat_net import (
    DIRECTOR,
    LIPS4,
    LIPS6,
    PORT,
    SERVER4,
    SERVER6,
    STAND_IN,
    VIP4,
    VIP4_OTHER,
    VIP6,
    VPORT,
    Network,
    run,
)

from lvskeeper.ipvs.types import DestKey, Protocol
from lvskeeper.kernel.conntrack import ConntrackClient
from lvskeeper.units import NO_ADDRESS, parse_address

pytestmark = pytest.mark.root

FIRST_PORT, PORTS = 40000, 4
SOURCES = f"""
table inet sources {{
  chain post {{ type nat hook postrouting priority srcnat;
    ip daddr {SERVER4} meta l4proto tcp snat ip to {LIPS4[0]}:{FIRST_PORT}-{FIRST_PORT + PORTS - 1}
    ip daddr {SERVER4} meta l4proto udp snat ip to {LIPS4[1]}
    ip6 daddr {SERVER6} snat ip6 to {LIPS6[0]}
  }}
}}
"""
LIMIT = 100


@pytest.fixture
def net() -> Iterator[Network]:
    with Network() as network:
        with network.inside(DIRECTOR):
            run("nft -f -", data=STAND_IN + SOURCES)
        yield network


@pytest.fixture
def conntrack(net: Network) -> Iterator[ConntrackClient]:
    client = ConntrackClient()
    with net.inside(DIRECTOR):
        client.stats()  # its socket belongs to where it is first used
    yield client
    client.close()


def test_connections_are_counted_by_their_local_address(
    net: Network, conntrack: ConntrackClient
) -> None:
    for _ in range(3):
        net.connect(VIP4).ask()
    net.connect(VIP4, udp=True).ask()
    net.connect(VIP6).ask()
    net.connect(VIP6, udp=True).ask()

    found = {
        lip: conntrack.count(parse_address(lip), LIMIT) for lip in (*LIPS4[:3], *LIPS6, VIP4, VIP6)
    }

    assert found == {
        LIPS4[0]: 3, LIPS4[1]: 1, LIPS4[2]: 0, LIPS6[0]: 2, LIPS6[1]: 0, VIP4: 0, VIP6: 0,
    }  # fmt: skip
    assert conntrack.stats().entries == 6


def test_counting_ends_at_the_limit_and_the_next_count_is_right(
    net: Network, conntrack: ConntrackClient
) -> None:
    for _ in range(3):
        net.connect(VIP4).ask()
    lip = parse_address(LIPS4[0])

    with net.inside(DIRECTOR):  # a dump that was given up needs another socket
        assert [conntrack.count(lip, limit) for limit in (1, 2, 3, 4)] == [1, 2, 3, 3]


def test_a_local_address_without_a_free_port_shows_in_the_counters(
    net: Network, conntrack: ConntrackClient
) -> None:
    for _ in range(PORTS):
        net.connect(VIP4).ask()
    before = conntrack.stats()

    with pytest.raises(TimeoutError):
        net.connect(VIP4, patience=0.3)

    after = conntrack.stats()
    assert before.insert_failed == 0
    assert after.insert_failed > 0
    assert after.dropped >= after.insert_failed
    assert after.limit == before.limit > 0


def test_only_the_flows_of_one_server_behind_one_service_are_forgotten(
    net: Network, conntrack: ConntrackClient
) -> None:
    for vip in (VIP4, VIP4_OTHER, VIP6):
        net.connect(vip, udp=True).ask()
    net.connect(VIP4).ask()
    server = DestKey(parse_address(SERVER4), PORT)
    service = DestKey(parse_address(VIP4), VPORT)
    with net.inside(DIRECTOR):
        elsewhere = DestKey(server.address, PORT + 1), DestKey(parse_address(LIPS4[0]), PORT)
        for other in elsewhere:
            assert conntrack.forget(Protocol.UDP, service, other) == 0
        assert conntrack.stats().entries == 4
        assert conntrack.forget(Protocol.UDP, service, server) == 1
        left = run("conntrack -L -p udp 2>/dev/null; conntrack -L -f ipv6 -p udp 2>/dev/null")
        assert f"dst={VIP4} " not in left
        assert f"dst={VIP4_OTHER} " in left
        assert "dst=2001:db8:f::1 " in left
        assert "tcp" in run("conntrack -L -p tcp 2>/dev/null")
        six = DestKey(parse_address(SERVER6), PORT)
        assert conntrack.forget(Protocol.UDP, DestKey(NO_ADDRESS, 0), six) == 1
        assert conntrack.stats().entries == 2
