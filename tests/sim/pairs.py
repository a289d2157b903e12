"""The usual pair of routers."""

from sim.world import Node, World

from lvskeeper.units import Address
from lvskeeper.vrrp.spec import AnnounceSpec, GroupSpec, InstanceSpec
from lvskeeper.vrrp.types import InstanceKey

FIRST = InstanceKey("eth0", 4, 51)
SECOND = InstanceKey("eth1", 4, 52)


def pair(
    seed: int,
    *,
    group: bool = False,
    announce: AnnounceSpec | None = None,
    last_advert: bool = False,
) -> World:
    """The usual pair: priority 200 and 100; with two instances in a sync group."""
    keys = (FIRST, SECOND) if group else (FIRST,)
    nodes = []
    for number, priority in ((1, 200), (2, 100)):
        source = Address(bytes([192, 0, 2, number]))
        made = tuple(
            InstanceSpec(
                key,
                "VI",
                source,
                version=3,
                priority=priority,
                announce=announce or AnnounceSpec(refresh=4.0),
                higher_prio_send_advert=last_advert,
            )
            for key in keys
        )
        groups = (GroupSpec("G", keys),) if group else ()
        nodes.append(Node(f"n{number}", made, groups))
    return World(nodes, seed)
