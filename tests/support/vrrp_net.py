"""Two network namespaces on one link, for what VRRP puts on the wire."""

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

from support.fullnat_net import namespace

from lvskeeper.kernel.vrrp_socket import Interface, Receiver, find_interface
from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import parse_address
from lvskeeper.vrrp.validate import Received, Reject

HERE4, HERE6, HERE_LINK = (parse_address(a) for a in ("192.0.2.1", "2001:db8::1", "fe80::1"))
THERE4, THERE6, THERE_LINK = (parse_address(a) for a in ("192.0.2.2", "2001:db8::2", "fe80::2"))
DEVICE = "eth0"


@contextmanager
def two_hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Yield the namespaces *here* and *there*, joined by their devices eth0."""
    prefix = netns.laboratory_prefix()
    here, there = Namespace(f"{prefix}-here"), Namespace(f"{prefix}-there")
    names = (here.name, there.name)
    try:
        netns.run_ip(batch=[f"netns add {name}" for name in names])
        netns.run_ip(
            batch=[f"link add {DEVICE} netns {names[0]} type veth peer {DEVICE} netns {names[1]}"]
        )
        for number, host in enumerate((here, there), 1):
            prepare_device(host, number)
        _wait_for_carrier(here)
        yield here, there
    finally:
        netns.delete(names)
        here.reap()
        there.reap()


def prepare_device(host: Namespace, number: int) -> None:
    """Give eth0 the addresses ending in *number*, and set it up."""
    netns.set_sysctls(host.name, {f"ipv6/conf/{DEVICE}/addr_gen_mode": "1"})
    # up first: without an automatic address a link that comes up later has no route to ff00::/8
    host.ip(
        "link set lo up",
        f"link set {DEVICE} up",
        f"addr add 192.0.2.{number}/24 dev {DEVICE}",
        f"addr add 2001:db8::{number}/64 dev {DEVICE} nodad",
        f"addr add fe80::{number}/64 dev {DEVICE} nodad",
    )


def _wait_for_carrier(host: Namespace) -> None:
    until = time.monotonic() + 5
    while "LOWER_UP" not in host.run(["ip", "link", "show", DEVICE]).stdout:
        assert time.monotonic() < until, "no carrier"
        time.sleep(0.02)


@contextmanager
def inside(host: Namespace) -> Iterator[Interface]:
    """Be in *host* with this thread, to open sockets on its eth0."""
    with namespace(host.name):
        yield find_interface(DEVICE)


def heard(receiver: Receiver, count: int, *, seconds: float = 5.0) -> list[Received | Reject]:
    """Return at least *count* packets, or what came within *seconds*."""
    found: list[Received | Reject] = []
    until = time.monotonic() + seconds
    while len(found) < count and (left := until - time.monotonic()) > 0:
        select.select([receiver], [], [], left)
        found += receiver.drain()
    return found
