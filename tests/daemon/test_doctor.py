"""Doctor: real machines that are ill, and what it says of them."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest
from support.fake_ipvs import FakeIpvs
from support.vrrp_net import DEVICE, THERE4, inside, two_hosts

from lvskeeper.daemon.doctor import examine, leftovers, needs_of
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.roles import (
    DirectorSpec,
    LocalAddressSpec,
    PoolSpec,
    RealServerSpec,
    VirtualServerSpec,
)
from lvskeeper.daemon.router_spec import RouterSpec
from lvskeeper.ipvs.dialect import FORK_V3, MAINLINE, Traits
from lvskeeper.ipvs.types import Family, Forward, Protocol, ServiceKey
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.vrrp_socket import Sender
from lvskeeper.lab import netns
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.netns import Namespace
from lvskeeper.observe import doctor_kernel, doctor_net
from lvskeeper.observe.doctor import Finding, Needs, Place, Router, Verdict, render
from lvskeeper.units import Address, parse_address
from lvskeeper.vrrp.packet import GROUP4, encode
from lvskeeper.vrrp.types import Advert

pytestmark = pytest.mark.root

VIP = parse_address("192.0.2.100")
OTHER = parse_address("192.0.2.101")
ROUTER = Router("web", DEVICE, 51, 4, frozenset({VIP}))
NEEDS = Needs(given=True, ipvs=False, routers=(ROUTER,), vips=(Place(VIP, DEVICE),))
CONFIG = f"""
vrrp_instance web {{
    version 3
    interface {DEVICE}
    virtual_router_id 51
    priority 100
    advert_int 0.1
    virtual_ipaddress {{
        192.0.2.100
    }}
}}
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    with two_hosts() as made:
        yield made


@pytest.fixture(scope="module")
def here(hosts: tuple[Namespace, Namespace]) -> Namespace:
    return hosts[0]


def ask(host: Namespace, work: Callable[[], Iterator[Finding]]) -> list[Finding]:
    return netns.inside(host.name, lambda: list(work()))


def only(findings: list[Finding]) -> Finding:
    (one,) = findings
    return one


def doctor(host: Namespace, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    done = host.run(
        [sys.executable, "-m", "lvskeeper", "doctor", "-o", "json", *arguments], check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


class Speaker:
    """Another master on the wire, which says so ten times a second."""

    def __init__(self, host: Namespace, vrid: int, *vips: Address) -> None:
        self._message = encode(Advert(3, vrid, 200, 0.1, vips), THERE4, GROUP4)
        self._end = threading.Event()
        with inside(host) as device:
            self._sender = Sender(device, 4)
        self._thread = threading.Thread(target=self._speak)

    def _speak(self) -> None:
        while not self._end.wait(0.1):
            self._sender.send(self._message, THERE4, GROUP4)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._sender.close()


@pytest.mark.parametrize(
    ("vrid", "vips", "verdict", "words"),
    [
        (51, (VIP,), Verdict.OK, "priority 200: a peer of web"),
        (51, (VIP, OTHER), Verdict.WARNING, "a peer of web with other addresses: 192.0.2.101"),
        (51, (OTHER,), Verdict.PROBLEM, "another virtual router, for 192.0.2.101; web cannot"),
        (77, (OTHER,), Verdict.OK, "VRID 77 on eth0 from 192.0.2.2, priority 200: not configured"),
    ],
    ids=["peer", "odd peer", "foreign", "unknown"],
)
def test_virtual_routers_are_heard_on_the_wire(
    hosts: tuple[Namespace, Namespace],
    vrid: int,
    vips: tuple[Address, ...],
    verdict: Verdict,
    words: str,
) -> None:
    here, there = hosts

    def listen() -> Iterator[Finding]:
        return doctor_net.heard(NEEDS, doctor_net.look(), 0.6)

    with Speaker(there, vrid, *vips):
        found = only(ask(here, listen))
    assert found.verdict is verdict
    assert words in found.text


def test_silence_is_told_as_such(here: Namespace) -> None:
    found = only(ask(here, lambda: doctor_net.heard(NEEDS, doctor_net.look(), 0.2)))
    assert found == Finding("VRRP", Verdict.OK, "no virtual router on eth0 in 0.2 s")


def test_interfaces_have_to_be_there_and_up(here: Namespace) -> None:
    needs = Needs(routers=(ROUTER, Router("b", "eth9", 1, 4, frozenset())))

    def interfaces() -> Iterator[Finding]:
        return doctor_net.interfaces(needs, doctor_net.look())

    assert only(ask(here, interfaces)).text == "eth9 does not exist"
    here.ip(f"link set {DEVICE} down")
    try:
        down, missing = ask(here, interfaces)
    finally:
        here.ip(f"link set {DEVICE} up")
    assert (down.verdict, down.command) == (Verdict.PROBLEM, "ip link set eth0 up")
    assert missing.verdict is Verdict.PROBLEM


def cured(host: Namespace, finding: Finding) -> None:
    """Do what the finding says, as an operator would."""
    host.run(["sh", "-ec", finding.command])


def test_a_strict_rp_filter_on_another_way_is_a_problem_until_its_command_was_given(
    here: Namespace,
) -> None:
    here.ip("link add lip0 type veth peer lip1", "link set lip0 up")
    netns.set_sysctls(here.name, {"ipv4/conf/lip0/rp_filter": "1"})
    needs = Needs(
        lips=(Place(parse_address("198.51.100.200"), "lip0"),),
        behind={"lip0": (parse_address("192.0.2.2"),)},
    )

    def paths() -> Iterator[Finding]:
        return doctor_net.reverse_paths(needs, doctor_net.look())

    try:
        found = only(ask(here, paths))
        assert found.verdict is Verdict.PROBLEM
        assert "lip0 is strict, and real servers are reached by eth0" in found.text
        cured(here, found)
        assert only(ask(here, paths)).verdict is Verdict.OK
    finally:
        here.ip("link del lip0")


def test_a_strict_rp_filter_concerns_the_servers_that_answer_to_its_lips_alone() -> None:
    def virtual(server: str, forward: Forward, pool: str) -> VirtualServerSpec:
        key = ServiceKey(Family.INET, Protocol.TCP, VIP, 80 + len(pool))
        real = RealServerSpec(parse_address(server), 80, forward)
        return VirtualServerSpec(str(key), (key,), "rr", (real,), pool=pool)

    director = DirectorSpec(
        virtual_servers=(
            virtual("10.0.1.7", Forward.FULLNAT, "one"),
            virtual("10.0.2.7", Forward.FULLNAT, "second"),
            virtual("10.0.3.7", Forward.DR, ""),
        ),
        pools=(
            PoolSpec("one", (LocalAddressSpec(parse_address("10.0.1.1"), "back1"),)),
            PoolSpec("second", (LocalAddressSpec(parse_address("10.0.2.1"), "back2"),)),
        ),
    )
    assert needs_of(director, None).behind == {
        "back1": (parse_address("10.0.1.7"),),
        "back2": (parse_address("10.0.2.7"),),
    }


def test_only_what_the_daemon_sets_is_told_to_be_set_by_it(tmp_path: Path) -> None:
    for name in (
        "net/ipv4/vs/conntrack", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding",
        "net/netfilter/nf_conntrack_tcp_loose",
    ):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0\n")
    # IPv6 is forwarded here by plain NAT, which the daemon leaves to the administrator.
    needs = Needs(given=True, fullnat=frozenset({Family.INET}), forwards=frozenset(Family))
    found = list(doctor_kernel.sysctls(needs, tmp_path))
    by_daemon = {one.text.split()[0] for one in found if "the daemon sets it" in one.text}
    assert by_daemon == {"net.ipv4.vs.conntrack", "net.ipv4.ip_forward"}
    (six,) = (one for one in found if one.verdict is Verdict.PROBLEM)
    assert six.text.startswith("net.ipv6.conf.all.forwarding is 0")


def test_arp_that_hides_or_spreads_an_address_is_found_and_cured(here: Namespace) -> None:
    here.ip("link add twin0 type veth peer twin1", "link set twin0 up",
            "addr add 192.0.2.77/24 dev twin0")  # fmt: skip
    netns.set_sysctls(here.name, {f"ipv4/conf/{DEVICE}/promote_secondaries": "1"})

    def arp() -> Iterator[Finding]:
        return doctor_net.arp(NEEDS, doctor_net.look())

    try:
        flux = only(ask(here, arp))
        assert (flux.verdict, "eth0 and twin0" in flux.text) == (Verdict.WARNING, True)
        cured(here, flux)
        assert only(ask(here, arp)).verdict is Verdict.OK
        netns.set_sysctls(here.name, {f"ipv4/conf/{DEVICE}/arp_ignore": "8"})
        mute = only(ask(here, arp))
        assert mute.verdict is Verdict.PROBLEM
        cured(here, mute)
        assert only(ask(here, arp)).verdict is Verdict.OK
    finally:
        here.ip("link del twin0")
        netns.set_sysctls(here.name, {f"ipv4/conf/{DEVICE}/promote_secondaries": "0"})
    assert "promote_secondaries=1" in ask(here, arp)[0].command


def test_servers_without_a_way_and_lips_on_no_device_are_told(here: Namespace) -> None:
    needs = Needs(
        lips=(Place(parse_address("198.51.100.200")), Place(parse_address("198.51.100.201"))),
        servers=(parse_address("192.0.2.2"), parse_address("203.0.113.9")),
    )
    lips, servers = ask(here, lambda: doctor_net.ways(needs, doctor_net.look()))
    assert lips.verdict is Verdict.WARNING
    assert lips.text.startswith("198.51.100.200 and 1 more on no device")
    assert (servers.verdict, servers.text) == (
        Verdict.PROBLEM, "no route to real server 203.0.113.9",
    )  # fmt: skip


def test_forwarding_is_missing_until_the_command_was_given(here: Namespace) -> None:
    needs = Needs(given=True, forwards=frozenset({Family.INET, Family.INET6}))

    def sysctls() -> Iterator[Finding]:
        return doctor_kernel.sysctls(needs)

    netns.set_sysctls(here.name, {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0"})
    four, six = ask(here, sysctls)
    assert four.command == "sysctl -w net.ipv4.ip_forward=1"
    assert (four.verdict, six.verdict) == (Verdict.PROBLEM, Verdict.PROBLEM)
    cured(here, four)
    cured(here, six)
    assert only(ask(here, sysctls)).verdict is Verdict.OK


def test_nft_is_asked_for_what_the_rulesets_need(here: Namespace) -> None:
    found = only(ask(here, lambda: doctor_kernel.nft_features(Needs())))
    assert found.verdict is Verdict.OK
    assert "source NAT, SYN cookies, notrack, reset tcp option" in found.text
    assert "lvskeeper_doctor" not in here.run(["nft", "list", "ruleset"]).stdout


def test_a_statement_that_nft_does_not_know_is_named(
    here: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        doctor_kernel.FEATURES, "SYN cookies", ("filter", "input", "cookies please", "none")
    )
    needs = Needs(given=True, fullnat=frozenset({Family.INET}), cookies=True)
    found = only(ask(here, lambda: doctor_kernel.nft_features(needs)))
    assert found.verdict is Verdict.PROBLEM
    assert found.text.startswith("no SYN cookies (none): ")


@pytest.fixture
def without_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(doctor_kernel, "SEARCH_PATH", "/nowhere")


def on(traits: Traits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let IPVS be one in memory that speaks like *traits*."""
    kernel = FakeIpvs(traits)
    monkeypatch.setattr(doctor_kernel, "_loaded", lambda _: True)
    monkeypatch.setattr(
        doctor_kernel, "IpvsClient",
        lambda: IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls),
    )  # fmt: skip


def of_kernel(host: Namespace, needs: Needs) -> dict[str, Finding]:
    """Return what is found of the kernel's nft, sysctls and connection tracking."""
    found = netns.inside(host.name, lambda: examine(needs, Path("/nowhere"), listen=0.0))
    topics = ("dialect", "nft", "sysctls", "conntrack")
    return {one.topic: one for one in found if one.topic in topics}


@pytest.mark.usefixtures("without_nft")
def test_a_kernel_with_fullnat_of_its_own_needs_no_nft(
    here: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    netns.set_sysctls(here.name, {"ipv4/ip_forward": "0"})
    inet = frozenset({Family.INET})
    needs = Needs(given=True, fullnat=inet, cookies=True, connections=10**9)
    on(MAINLINE, monkeypatch)
    found = of_kernel(here, needs)
    assert (found["nft"].verdict, found["nft"].command) == (
        Verdict.PROBLEM, "apt-get install nftables",
    )  # fmt: skip
    assert found["sysctls"].verdict is not Verdict.OK
    on(FORK_V3, monkeypatch)
    assert list(of_kernel(here, needs)) == ["dialect"]
    assert list(of_kernel(here, Needs())) == ["dialect"], "nor does one without a configuration"


@pytest.mark.usefixtures("without_nft")
def test_nft_is_missed_where_the_router_needs_it(
    here: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(FORK_V3, monkeypatch)
    found = of_kernel(here, Needs(given=True, firewall=True))
    assert (found["nft"].verdict, found["nft"].command) == (
        Verdict.PROBLEM, "apt-get install nftables",
    )  # fmt: skip
    assert "no_accept" in found["nft"].text


@pytest.mark.parametrize(
    ("more", "firewall"), [("", False), ("no_accept", True), ("use_vmac", True)]
)
def test_a_router_needs_nft_where_it_blocks_packets(
    tmp_path: Path, more: str, firewall: bool
) -> None:
    file = tmp_path / "conf"
    file.write_text(CONFIG.replace("version 3", f"version 3\n{more}"))
    loaded = load_file(str(file))
    assert not loaded.errors
    router = msgspec.json.decode(loaded.router, type=RouterSpec)
    assert needs_of(DirectorSpec(), router).firewall is firewall


def test_conntrack_has_room_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "net/netfilter"
    folder.mkdir(parents=True)

    def room(count: int, limit: int, wanted: int = 0) -> Verdict:
        (folder / "nf_conntrack_count").write_text(f"{count}\n")
        (folder / "nf_conntrack_max").write_text(f"{limit}\n")
        return only(list(doctor_kernel.conntrack(Needs(connections=wanted), tmp_path))).verdict

    assert room(10, 1000) is Verdict.OK
    assert room(800, 1000) is Verdict.PROBLEM
    assert room(10, 1000, 5000) is Verdict.WARNING


def test_slow_clocks_are_told(tmp_path: Path) -> None:
    (tmp_path / "current_clocksource").write_text("hpet\n")
    assert only(list(doctor_kernel.clock(tmp_path))).verdict is Verdict.WARNING


def test_networkd_is_told_unless_it_keeps_the_addresses(here: Namespace, tmp_path: Path) -> None:
    network = netns.inside(here.name, doctor_net.look)
    index = network.links[DEVICE].index
    state = tmp_path / f"run/systemd/netif/links/{index}"
    state.parent.mkdir(parents=True)
    # As systemd 252 writes it
    state.write_text(
        "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=routable\n"
        "NETWORK_FILE=/etc/systemd/network/10-lan.network\n"
    )
    networks = tmp_path / "etc/systemd/network"
    networks.mkdir(parents=True)
    (networks / "10-lan.network").write_text("[Match]\nName=eth0\n[Network]\nDHCP=yes\n")

    def found(*running: str) -> list[Finding]:
        return list(doctor_net.managers(NEEDS, network, running, tmp_path))

    address, routes = found("systemd-network")
    assert "systemd-networkd manages eth0 (10-lan.network)" in address.text
    assert "ManageForeignRoutes=no" in routes.command
    for one in (address, routes):
        # The commands write the very files that are read, here below another root
        text = one.command.replace("/etc/", f"{tmp_path}/etc/")
        writing = text.partition(" && networkctl")[0].partition(" && systemctl")[0]
        subprocess.run(["sh", "-ec", writing], check=True)
    assert only(found("systemd-network")).verdict is Verdict.OK
    assert only(found()).text == "nobody takes addresses off eth0"


def test_network_manager_is_told_where_it_manages(here: Namespace, tmp_path: Path) -> None:
    network = netns.inside(here.name, doctor_net.look)
    state = tmp_path / f"run/NetworkManager/devices/{network.links[DEVICE].index}"
    state.parent.mkdir(parents=True)
    state.write_text("[device]\nmanaged=true\n")
    found = only(list(doctor_net.managers(NEEDS, network, ["NetworkManager"], tmp_path)))
    assert (found.verdict, found.command) == (
        Verdict.WARNING, "nmcli device set eth0 managed no",
    )  # fmt: skip
    state.write_text("[device]\nmanaged=false\n")
    found = only(list(doctor_net.managers(NEEDS, network, ["NetworkManager"], tmp_path)))
    assert found.verdict is Verdict.OK


def test_what_a_dead_daemon_left_is_found_and_cleaned_up(here: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "one.conf"
    file.write_text(CONFIG)
    run_dir = tmp_path / "run"

    def left() -> Iterator[Finding]:
        return leftovers(run_dir)

    def addresses() -> str:
        return here.run(["ip", "-br", "address", "show", "dev", DEVICE]).stdout

    with Daemon(here, file, run_dir) as daemon:
        daemon.start()
        daemon.wait_for("vrrp_state_changed", new="MASTER")
        found = only(ask(here, left))
        assert (found.topic, found.verdict) == ("daemon", Verdict.OK)
        busy = here.run(
            [sys.executable, "-m", "lvskeeper", "cleanup", "--run-dir", str(run_dir)], check=False
        )
        assert (busy.returncode, "another lvskeeper" in busy.stderr) == (6, True)
    assert "192.0.2.100" in addresses()
    found = only(ask(here, left))
    assert (found.topic, found.verdict) == ("leftovers", Verdict.WARNING)
    assert found.command == f"lvskeeper cleanup --run-dir {run_dir}"
    here.run([sys.executable, "-m", *found.command.split()])
    assert "192.0.2.100" not in addresses()
    assert "192.0.2.1/24" in addresses()
    assert only(ask(here, left)).text == "none"


def test_our_tables_without_a_daemon_are_told(here: Namespace, tmp_path: Path) -> None:
    here.run(["nft", "add", "table", "inet", "lvskeeper_vrrp"])
    found = only(ask(here, lambda: leftovers(tmp_path)))
    assert found.command == "nft delete table inet lvskeeper_vrrp"
    cured(here, found)
    assert only(ask(here, lambda: leftovers(tmp_path))).verdict is Verdict.OK


def test_the_command_tells_all_and_ends_with_a_status(here: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "one.conf"
    file.write_text(CONFIG)
    status, lines = doctor(here, "-f", str(file), "--listen", "0.2", "--run-dir", str(tmp_path))
    topics = {line["topic"] for line in lines}
    assert topics == {"capabilities", "interfaces", "arp", "managers", "VRRP", "clock", "leftovers"}
    assert status == ("warning" in {line["verdict"] for line in lines})
    file.write_text(CONFIG.replace(DEVICE, "eth9"))
    status, lines = doctor(here, "-f", str(file), "--listen", "0", "--run-dir", str(tmp_path))
    assert status == 4
    assert [line["text"] for line in lines if line["verdict"] == "problem"] == [
        "eth9 does not exist"
    ]


def test_a_refused_file_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "bad.conf"
    file.write_text("vrrp_instance x {\n}\n")
    done = subprocess.run(
        [sys.executable, "-m", "lvskeeper", "doctor", "-f", file],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "bad.conf:1:" in done.stderr
    assert not done.stdout


def test_without_privileges_it_says_which_are_missing(here: Namespace, tmp_path: Path) -> None:
    done = here.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--",
         sys.executable, "-m", "lvskeeper", "doctor", "--listen", "0.2", "--run-dir", "/nowhere"],
        check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "without CAP_NET_ADMIN (change IPVS" in done.stdout
    assert "-> sudo lvskeeper doctor" in done.stdout
    assert tmp_path.exists()


def test_the_screen_has_a_line_and_a_command_a_finding() -> None:
    text = render([
        Finding("clock", Verdict.OK, "fine"),
        Finding("rp_filter", Verdict.PROBLEM, "strict", "sysctl -w x=2"),
    ])  # fmt: skip
    assert text.splitlines() == [
        "ok       clock      fine",
        "PROBLEM  rp_filter  strict",
        "                    -> sysctl -w x=2",
        "1 ok, 0 warnings, 1 problem",
    ]


def test_a_whole_visit_looks_at_everything(here: Namespace, tmp_path: Path) -> None:
    found = netns.inside(here.name, lambda: examine(NEEDS, tmp_path, listen=0.1))
    assert {one.topic for one in found} >= {"interfaces", "VRRP", "clock", "leftovers"}
