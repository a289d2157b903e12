"""Record what keepalived and FRR's vrrpd send: one packet of each kind for every configuration.

Run it as root from the top of the tree with ``PYTHONPATH=.:tests``; it needs keepalived and FRR.
Every scenario gets two network namespaces of its own; a listener sits at the far end of the link.
What is recorded begins with the IP header, as it was on the wire.
"""

import itertools
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.fullnat_net import namespace

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace

FOLDER: Final = Path(__file__).parent
SPEAKER: Final = ("192.0.2.1", "2001:db8::1")
LISTENER: Final = ("192.0.2.2", "2001:db8::2")
LINK_LOCAL: Final = "fe80::2"
"""Link-local address of the speaker, source of its IPv6 adverts."""
WAIT: Final = 12.0
PROTOCOLS: Final = (51, 112)


@dataclass(frozen=True)
class Scenario:
    """A configuration, and how many adverts to keep before the speaker is stopped."""

    name: str
    tool: str
    facts: dict[str, object]
    """What we would have to be told to send the same: the keys of a line in the capture."""
    lines: str
    adverts: int = 2


def _keepalived(
    name: str, facts: dict[str, object], lines: str = "", *, adverts: int = 2
) -> Scenario:
    return Scenario(name, "keepalived", facts, lines, adverts)


SCENARIOS: Final = (
    _keepalived(
        "v2-none",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"]},
        "",
    ),
    _keepalived(
        "v2-three-vips",
        {"version": 2, "vrid": 255, "priority": 254, "interval": 2,
         "vips": ["192.0.2.100", "198.51.100.1", "203.0.113.255"]},
        "", adverts=1,
    ),
    _keepalived(
        "v2-no-vip",
        {"version": 2, "vrid": 1, "priority": 1, "interval": 1, "vips": []},
        "no_virtual_ipaddress", adverts=1,
    ),
    _keepalived(
        "v2-pass",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"],
         "auth": "PASS", "secret": "s3cret"},
        "authentication { \n auth_type PASS\n auth_pass s3cret\n }",
    ),
    _keepalived(
        "v2-pass-eight",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"],
         "auth": "PASS", "secret": "12345678"},
        "authentication { \n auth_type PASS\n auth_pass 12345678\n }", adverts=1,
    ),
    _keepalived(
        "v2-ah",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"],
         "auth": "AH", "secret": "s3cret"},
        "authentication { \n auth_type AH\n auth_pass s3cret\n }", adverts=3,
    ),
    _keepalived(
        "v2-ah-unicast",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1,
         "vips": ["192.0.2.100", "192.0.2.101"], "auth": "AH", "secret": "12345678"},
        "unicast_src_ip 192.0.2.1\n unicast_peer { \n 192.0.2.2 \n }\n"
        "authentication { \n auth_type AH\n auth_pass 12345678\n }",
    ),
    _keepalived(
        "v2-unicast",
        {"version": 2, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"]},
        "unicast_src_ip 192.0.2.1\n unicast_peer { \n 192.0.2.2 \n }",
    ),
    _keepalived(
        "v3-v4",
        {"version": 3, "vrid": 51, "priority": 150, "interval": 0.25,
         "vips": ["192.0.2.100", "192.0.2.101"]},
        "",
    ),
    _keepalived(
        "v3-v4-owner",
        {"version": 3, "vrid": 7, "priority": 255, "interval": 1, "vips": ["192.0.2.100"]},
        "",
    ),
    _keepalived(
        "v3-v4-slow",
        {"version": 3, "vrid": 51, "priority": 255, "interval": 40.95, "vips": ["192.0.2.100"]},
        "", adverts=1,
    ),
    _keepalived(
        "v3-v4-unicast",
        {"version": 3, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"]},
        "unicast_src_ip 192.0.2.1\n unicast_peer { \n 192.0.2.2 \n }",
    ),
    _keepalived(
        "v3-v4-old-unicast-checksum",
        {"version": 3, "vrid": 51, "priority": 150, "interval": 1, "vips": ["192.0.2.100"],
         "old_unicast_checksum": True},
        "old_unicast_checksum\n unicast_src_ip 192.0.2.1\n unicast_peer { \n 192.0.2.2 \n }",
    ),
    _keepalived(
        "v3-v6",
        {"version": 3, "vrid": 51, "priority": 150, "interval": 1,
         "vips": ["fe80::100", "2001:db8::100"]},
        "native_ipv6",
    ),
    _keepalived(
        "v3-v6-unicast",
        {"version": 3, "vrid": 51, "priority": 150, "interval": 1, "vips": ["2001:db8::100"]},
        "native_ipv6\n unicast_src_ip 2001:db8::1\n unicast_peer { \n 2001:db8::2 \n }",
    ),
    Scenario(
        "frr-v3-v4", "frr",
        {"version": 3, "vrid": 5, "priority": 200, "interval": 1,
         "vips": ["192.0.2.100", "192.0.2.101"]},
        "",
    ),
    Scenario(
        "frr-v3-v6", "frr",
        {"version": 3, "vrid": 5, "priority": 200, "interval": 1, "vips": ["fe80::100"]},
        "",
    ),
    Scenario(
        "frr-v2", "frr",
        {"version": 2, "vrid": 5, "priority": 200, "interval": 1, "vips": ["192.0.2.100"]},
        "",
    ),
)  # fmt: skip


def _keepalived_conf(scenario: Scenario) -> str:
    facts = scenario.facts
    vips = facts["vips"]
    assert isinstance(vips, list)
    block = "virtual_ipaddress {\n" + "\n".join(vips) + "\n}" if vips else ""
    return f"""
global_defs {{
 router_id recorder
 vrrp_garp_master_repeat 1
}}
vrrp_instance recorded {{
 version {facts["version"]}
 state {facts.get("state", "MASTER")}
 interface eth0
 virtual_router_id {facts["vrid"]}
 priority {facts["priority"]}
 advert_int {facts["interval"]}
 {scenario.lines}
 {block}
}}
"""


def _frr_conf(scenario: Scenario) -> str:
    facts = scenario.facts
    vips = facts["vips"]
    assert isinstance(vips, list)
    head = f" vrrp {facts['vrid']}"
    lines = [f"{head} version {facts['version']}", f"{head} priority {facts['priority']}",
             f"{head} advertisement-interval 1000"]  # fmt: skip
    lines += [f"{head} {'ipv6' if ':' in vip else 'ip'} {vip}" for vip in vips]
    return "interface eth0\n" + "\n".join(lines) + "\n"


@contextmanager
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """Make two namespaces joined by a link with fixed addresses."""
    prefix = netns.laboratory_prefix()
    one, two = Namespace(f"{prefix}-speaker"), Namespace(f"{prefix}-listener")
    netns.run_ip(batch=[f"netns add {one.name}", f"netns add {two.name}"])
    try:
        for side in (one, two):
            netns.set_sysctls(side.name, {"ipv6/conf/default/accept_dad": "0"})
        one.ip(f"link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 "
               f"address 02:00:00:00:00:02 netns {two.name}")  # fmt: skip
        for side, addresses in ((one, SPEAKER), (two, LISTENER)):
            netns.set_sysctls(side.name, {"ipv6/conf/eth0/addr_gen_mode": "1"})
            side.ip("link set lo up", "link set eth0 up", f"addr add {addresses[0]}/24 dev eth0",
                    f"addr add {addresses[1]}/64 dev eth0 nodad")  # fmt: skip
        one.ip(f"addr add {LINK_LOCAL}/64 dev eth0 nodad")
        yield one, two
    finally:
        netns.delete([one.name, two.name])
        one.reap()
        two.reap()


def start_keepalived(
    scenario: Scenario, speaker: Namespace, folder: Path
) -> list[subprocess.Popen[str]]:
    """Start keepalived in *speaker*; it logs to the file ``log`` in *folder*."""
    conf = folder / "keepalived.conf"
    conf.write_text(_keepalived_conf(scenario))
    log = (folder / "log").open("w")
    return [speaker.popen(
        ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail",
         "--use-file", str(conf), "--pid", str(folder / "pid"), "--vrrp_pid",
         str(folder / "vrrp_pid")],
        stdout=log, stderr=subprocess.STDOUT,
    )]  # fmt: skip


def _start_frr(scenario: Scenario, speaker: Namespace, folder: Path) -> list[subprocess.Popen[str]]:
    """Start zebra and vrrpd; vrrpd wants a macvlan with the virtual MAC for each family."""
    facts = scenario.facts
    vips = facts["vips"]
    assert isinstance(vips, list)
    six = ":" in vips[0]
    mac = f"00:00:5e:00:0{2 if six else 1}:{facts['vrid']:02x}"
    speaker.ip(f"link add vmac link eth0 address {mac} type macvlan mode bridge")
    netns.set_sysctls(speaker.name, {"ipv6/conf/vmac/addr_gen_mode": "1"})
    if six:
        speaker.ip("addr add fe80::5/64 dev vmac nodad")
    speaker.ip(*[f"addr add {vip}/{64 if six else 24} dev vmac {'nodad' if six else ''}"
                 for vip in vips], "link set vmac up")  # fmt: skip
    shutil.chown(folder, "frr")  # the daemons give up root
    conf = folder / "frr.conf"
    conf.write_text(_frr_conf(scenario))
    log = (folder / "log").open("w")
    made = []
    for daemon in ("zebra", "vrrpd"):
        made.append(speaker.popen(
            [f"/usr/lib/frr/{daemon}", "-f", str(conf), "-z", str(folder / "zserv"),
             "-i", str(folder / f"{daemon}.pid"), "--vty_socket", str(folder), "-P", "0",
             "-u", "frr", "-g", "frr", "--log", "stdout"],
            stdout=log, stderr=subprocess.STDOUT,
        ))  # fmt: skip
        time.sleep(1.5)
    return made


def _packets(sock: socket.socket, until: float) -> Iterator[bytes]:
    """Yield the VRRP packets of the speaker, IP header first, without Ethernet padding."""
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data = sock.recv(65535)
        except TimeoutError:
            return
        kind, packet = data[12:14], data[14:]
        if kind == b"\x08\x00" and packet[9] in PROTOCOLS:
            yield packet[: int.from_bytes(packet[2:4], "big")]
        elif kind == b"\x86\xdd" and packet[6] in PROTOCOLS:
            yield packet[: 40 + int.from_bytes(packet[4:6], "big")]


def _record(scenario: Scenario) -> Iterator[dict[str, object]]:
    with pair() as (speaker, listener), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with namespace(listener.name):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with sock:
            sock.bind(("eth0", 0))  # the device is looked up in the socket's own namespace
            start = _start_frr if scenario.tool == "frr" else start_keepalived
            children = start(scenario, speaker, folder)
            heard = _packets(sock, time.monotonic() + WAIT)
            found = list(itertools.islice(heard, scenario.adverts))
            for child in reversed(children):
                child.send_signal(signal.SIGTERM)
            last = list(_packets(sock, time.monotonic() + 2.0))[-1:]
        if len(found) < scenario.adverts or not last:
            sys.exit(f"{scenario.name}: {len(found)} adverts\n{(folder / 'log').read_text()}")
    for stopping, packets in ((False, found), (True, last)):
        for packet in packets:
            yield {"scenario": scenario.name, "tool": scenario.tool, "stopping": stopping,
                   **scenario.facts, "hex": packet.hex()}  # fmt: skip


def main() -> None:
    """Record all scenarios, or those named as arguments (printed only)."""
    wanted = sys.argv[1:]
    lines = []
    for scenario in SCENARIOS:
        if wanted and scenario.name not in wanted:
            continue
        for line in _record(scenario):
            sys.stdout.write(f"{json.dumps(line)}\n")
            lines.append(line)
    if not wanted:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (FOLDER / "captures.jsonl").write_text(text)


if __name__ == "__main__":
    main()
