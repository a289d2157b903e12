"""Our adverts and keepalived's on one link: each side believes the other."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from support.vrrp_net import (
    HERE4,
    HERE6,
    HERE_LINK,
    THERE4,
    THERE6,
    THERE_LINK,
    heard,
    inside,
    two_hosts,
)

from lvskeeper.kernel.vrrp_socket import Receiver, Sender, SignedSender
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import Address, format_address, parse_address
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import AH, GROUP4, GROUP6, VRRP, encode, encode_signed
from lvskeeper.vrrp.types import Advert
from lvskeeper.vrrp.validate import Accepted, Peer, Received, Rules, validate

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived"),
]

VIP4, VIP6 = parse_address("192.0.2.100"), parse_address("2001:db8::100")
VIP_LINK = parse_address("fe80::100")
SECRET: Final = b"s3cret"
PEER_PRIORITY: Final = 100
OUR_PRIORITY: Final = 200
TAKEOVER: Final = 15.0
"""Seconds that keepalived may need for anything; the slowest has a master-down time of 3.6."""


@dataclass(frozen=True)
class Kind:
    """An instance that both sides run, and the ways in which instances differ."""

    name: str
    vrid: int
    version: int
    interval: float
    vips: tuple[Address, ...] = (VIP4,)
    auth: AuthKind = AuthKind.NONE
    here: Address = HERE4
    there: Address = THERE4
    unicast: bool = False
    ttl: int = 255
    """What keepalived 2.2 sends with; to unicast peers in IPv6 it leaves the system's default."""

    @property
    def destination(self) -> Address:
        if self.unicast:
            return self.there
        return GROUP6 if len(self.here) == 16 else GROUP4

    @property
    def advert(self) -> Advert:
        return Advert(self.version, self.vrid, OUR_PRIORITY, self.interval, self.vips)

    @property
    def rules(self) -> Rules:
        return Rules(
            self.version, self.vrid, self.interval, self.vips,
            auth=Authentication(self.auth, SECRET if self.auth else b""),
            peers=(Peer(self.there),) if self.unicast else (), check_source=True,
        )  # fmt: skip

    def configuration(self) -> str:
        lines = [
            "interface eth0", "state BACKUP", f"virtual_router_id {self.vrid}",
            f"priority {PEER_PRIORITY}", f"advert_int {self.interval:g}",
            f"version {self.version}",
            "virtual_ipaddress {", *map(format_address, self.vips), "}",
        ]  # fmt: skip
        if self.auth:
            lines += ["authentication {", f"auth_type {self.auth.name}",
                      f"auth_pass {SECRET.decode()}", "}"]  # fmt: skip
        if self.unicast:
            lines += [f"unicast_src_ip {format_address(self.there)}",
                      "unicast_peer {", format_address(self.here), "}"]  # fmt: skip
        body = "\n  ".join(lines)
        return f"vrrp_instance {self.name} {{\n  {body}\n}}\n"


KINDS: Final = (
    Kind("plain", 2, 2, 1.0),
    Kind("password", 3, 2, 1.0, auth=AuthKind.PASS),
    Kind("signed", 4, 2, 1.0, auth=AuthKind.AH),
    Kind("unicast2", 5, 2, 1.0, auth=AuthKind.PASS, unicast=True),
    Kind("three", 6, 3, 0.1),
    Kind("unicast3", 7, 3, 0.1, unicast=True),
    Kind("six", 8, 3, 0.1, vips=(VIP_LINK, VIP6), here=HERE_LINK, there=THERE_LINK),
    Kind("unicast6", 9, 3, 0.1, vips=(VIP6,), here=HERE6, there=THERE6, unicast=True, ttl=64),
)


class Neighbour:
    """A keepalived that runs all kinds of instances."""

    def __init__(self, host: Namespace, folder: Path) -> None:
        self._log = folder / "log"
        conf = folder / "keepalived.conf"
        conf.write_text("".join(kind.configuration() for kind in KINDS))
        with self._log.open("w") as log:
            host.popen(
                ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail",
                 "--use-file", str(conf), "--pid", str(folder / "pid"),
                 "--vrrp_pid", str(folder / "vrrp_pid")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def entries(self, kind: Kind) -> list[str]:
        """Return the states that *kind* has entered, in order."""
        begin = f"({kind.name}) Entering "
        lines = [line for line in self.log().splitlines() if begin in line]
        return [line.split(begin)[1].split()[0] for line in lines]

    def log(self) -> str:
        return self._log.read_text()

    def wait_until_all_are(self, state: str, times: int) -> None:
        """Wait until each instance has entered *state* for the given number of times."""
        until = time.monotonic() + TAKEOVER
        while any(self.entries(kind).count(state) < times for kind in KINDS):
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)


class Speaker:
    """Sends our adverts of all kinds until it is told to be quiet."""

    def __init__(self, host: Namespace, stack: contextlib.ExitStack) -> None:
        with inside(host) as interface:
            self._senders = {
                family: stack.enter_context(Sender(interface, family)) for family in (4, 6)
            }
            self._signed = stack.enter_context(SignedSender(interface))
        self._sequence = 0
        self._quiet = threading.Event()

    def _speak(self) -> None:
        due = {kind: time.monotonic() for kind in KINDS}
        while not self._quiet.wait(0.01):
            for kind in KINDS:
                if due[kind] <= time.monotonic():
                    due[kind] += kind.interval
                    self._send(kind)

    def _send(self, kind: Kind) -> None:
        if kind.auth is AuthKind.AH:
            self._sequence += 1
            self._signed.send(encode_signed(
                kind.advert, kind.here, kind.destination, secret=SECRET, sequence=self._sequence
            ))  # fmt: skip
            return
        message = encode(kind.advert, kind.here, kind.destination, auth=kind.rules.auth)
        self._senders[6 if len(kind.here) == 16 else 4].send(message, kind.here, kind.destination)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Speak for the time of a ``with`` block."""
        self._quiet.clear()
        thread = threading.Thread(target=self._speak)
        thread.start()
        try:
            yield
        finally:
            self._quiet.set()
            thread.join()


def test_keepalived_waits_while_we_speak_takes_over_and_yields(tmp_path: Path) -> None:
    with two_hosts() as (here, there), contextlib.ExitStack() as stack:
        with inside(here) as interface:
            receivers = [
                stack.enter_context(Receiver(interface, family, protocol=protocol))
                for family, protocol in ((4, VRRP), (6, VRRP), (4, AH))
            ]
        speaker = Speaker(here, stack)
        with speaker.speaking():
            peer = Neighbour(there, tmp_path)
            peer.wait_until_all_are("BACKUP", 1)
            time.sleep(4.5)  # more than any master-down time
            assert {kind.name: peer.entries(kind) for kind in KINDS} == {
                kind.name: ["BACKUP"] for kind in KINDS
            }, peer.log()
        assert [receiver.drain() for receiver in receivers] == [[], [], []]
        peer.wait_until_all_are("MASTER", 1)
        time.sleep(1.1)
        packets = [packet for receiver in receivers for packet in receiver.drain()]
        for kind in KINDS:
            _expect_its_adverts(kind, packets)
        with speaker.speaking():
            peer.wait_until_all_are("BACKUP", 2)
            for receiver in receivers:
                receiver.drain()
            assert heard(receivers[0], 1, seconds=1.5) == []
        assert "invalid" not in peer.log().lower()
        assert "discard" not in peer.log().lower()


def _expect_its_adverts(kind: Kind, packets: Sequence[object]) -> None:
    found = [each for each in packets if isinstance(each, Received) and each.vrid == kind.vrid]
    assert found, kind
    for packet in found:
        verdict = validate(packet, kind.rules)
        assert isinstance(verdict, Accepted), (kind, verdict)
        assert verdict.notes == ()
        assert (verdict.source, verdict.ttl) == (kind.there, kind.ttl)
        assert verdict.advert.priority == PEER_PRIORITY
