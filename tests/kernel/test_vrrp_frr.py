"""FRR's vrrpd as a peer: it is master on a link, and tshark reads what it says."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.frr import HAS_FRR, LINK_LOCAL, Router, frr
from support.tshark import HAS_TSHARK, listen
from support.vrrp_net import DEVICE, HERE4, heard, inside, two_hosts

from lvskeeper.kernel.vrrp_socket import Receiver
from lvskeeper.units import parse_address
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import Received

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not HAS_FRR, reason="needs FRR with vrrpd"),
]

ROUTERS = (
    Router(vips=("192.0.2.100", "192.0.2.101"), interval=0.1),
    Router(vips=("fe80::100", "2001:db8::100"), interval=0.1),
)


@pytest.mark.skipif(not HAS_TSHARK, reason="needs tshark")
@pytest.mark.parametrize("router", ROUTERS, ids=("IPv4", "IPv6"))
def test_frr_becomes_master_and_tshark_reads_it(router: Router) -> None:
    vips = tuple(parse_address(vip) for vip in router.vips)
    with two_hosts() as (here, there), TemporaryDirectory() as folder:
        with frr(here, Path(folder), router) as peer:
            peer.wait_for("Master")
            packets = listen(there, DEVICE, 3)
        assert len(packets) == 3
        for packet in packets:
            assert packet.advert == Advert(3, 5, 200, 0.1, vips)
            assert packet.source == (parse_address(LINK_LOCAL) if router.six else HERE4)
            assert (packet.ttl, packet.good, packet.mac) == (255, True, router.mac)


@pytest.mark.parametrize("router", ROUTERS, ids=("IPv4", "IPv6"))
def test_frr_takes_its_leave_unless_it_is_killed(router: Router) -> None:
    with two_hosts() as (here, there), TemporaryDirectory() as folder:
        with inside(there) as interface:
            receiver = Receiver(interface, 6 if router.six else 4)
        with receiver, frr(here, Path(folder), router) as peer:
            for end, leave in ((peer.kill, False), (peer.terminate, True)):
                peer.wait_for("Master")
                assert _priorities(receiver)[-1] == 200
                end()
                # more than will come: whatever was sent until ten intervals after the end
                assert (0 in _priorities(receiver, count=100)) is leave
                peer.start()
            peer.wait_for("Master")


def _priorities(receiver: Receiver, *, count: int = 1) -> list[int]:
    found = heard(receiver, count, seconds=1.0)
    assert all(isinstance(one, Received) for one in found), found
    return [one.message.priority for one in found if isinstance(one, Received)]


def test_frr_understands_its_configuration() -> None:
    router = Router(vrid=7, priority=33, interval=2.5, preempt=False)
    with (
        two_hosts() as (here, _),
        TemporaryDirectory() as folder,
        frr(here, Path(folder), router) as peer,
    ):
        shown = peer.show()
        assert "No such command" not in peer.log()
    assert (shown["version"], shown["preemptMode"]) == (3, False)
    assert (shown["v4"]["effectivePriority"], shown["advertisementInterval"]) == (33, 2500)
