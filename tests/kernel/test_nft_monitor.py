"""What the kernel tells of nftables transactions, each test in a network namespace of its own."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.errors import ExitStatus, OperatorError
from lvskeeper.kernel import nft_monitor
from lvskeeper.kernel.monitor import Overrun
from lvskeeper.kernel.nfnetlink import NETLINK_NETFILTER
from lvskeeper.kernel.nft import Generation
from lvskeeper.kernel.nft_monitor import Commit, NftMonitor

pytestmark = pytest.mark.root

MANY = 100_000
"""Elements of somebody else's blocklist."""


@pytest.fixture
def monitor() -> Iterator[NftMonitor]:
    with empty_namespace(), NftMonitor() as monitor:
        yield monitor


def names(monitor: NftMonitor) -> list[str]:
    return [item.name if isinstance(item, Commit) else "?" for item in monitor.drain()]


def test_each_transaction_is_told_with_its_number_and_its_maker(
    monitor: NftMonitor, tmp_path: Path
) -> None:
    assert monitor.drain() == []
    generation = Generation()
    first = generation.read()
    process = int(run("nft add table inet a & echo $!; wait"))
    run(f"cp $(command -v nft) {tmp_path}/firewalld; {tmp_path}/firewalld flush ruleset")
    one, two = monitor.drain()
    assert one == Commit(first + 1, process, "nft")
    assert str(one) == f"nft[{process}]"
    assert isinstance(two, Commit)
    assert (two.generation, two.name) == (first + 2, "firewalld")
    assert generation.read() == two.generation
    generation.close()


def test_looks_and_checks_and_refusals_and_other_namespaces_are_not_told(
    monitor: NftMonitor,
) -> None:
    run("nft list ruleset; nft -c add table inet a; nft delete table inet none", check=False)
    run("unshare -n nft add table inet a")
    assert monitor.drain() == []


def test_a_load_of_100000_elements_is_one_datagram(monitor: NftMonitor) -> None:
    content = ",".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(MANY))
    load = "add table ip f; add set ip f s { type ipv4_addr; }; add element ip f s"
    run("nft -f -", data=f"{load} {{ {content} }}")
    assert select.select([monitor], [], [], 0)[0]
    started = time.thread_time()
    assert names(monitor) == ["nft"]
    assert time.thread_time() - started < 0.01
    assert not select.select([monitor], [], [], 0)[0]
    run("nft flush ruleset")
    assert names(monitor) == ["nft"]


def test_an_overrun_is_one_piece_of_news_and_the_next_is_heard(
    monitor: NftMonitor,
) -> None:
    monitor._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    run("for i in 1 2 3 4 5 6 7 8; do echo add table inet t$i; nft add table inet t$i; done")
    assert monitor.drain() == [Overrun()]
    assert monitor.drain() == []
    run("nft flush ruleset")
    assert names(monitor) == ["nft"]


def test_one_wake_up_reads_a_bounded_number(monitor: NftMonitor) -> None:
    run("nft -i", data="".join(f"add table inet t{number}\n" for number in range(20)))
    assert [len(monitor.drain(8)) for _ in range(4)] == [8, 8, 4, 0]


def test_messages_of_others_than_the_kernel_are_no_news(monitor: NftMonitor) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as stranger:
        header = struct.pack("=IH14x", 28, nft_monitor._NEW_GENERATION)
        body = struct.pack("=HH", 8, 1) + b"\0\0\0\x09"
        stranger.sendto(header + body, (monitor._socket.getsockname()[0], 0))
    assert select.select([monitor], [], [], 0)[0], "it did get there"
    assert monitor.drain() == []


def test_a_kernel_without_the_socket_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft_monitor, "NETLINK_NETFILTER", 31)
    with pytest.raises(OperatorError, match="cannot watch nftables") as raised:
        NftMonitor()
    assert raised.value.status is ExitStatus.KERNEL
