"""A dry run: it checks, reads the kernel and tells what would be done; nothing is written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.director_site import PORTS, Site, configuration, listening, site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.channel import Stop, Stopped
from lvskeeper.daemon.dry_run import DryRun
from lvskeeper.daemon.questions import Override
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.kernel.ipvs import IpvsClient
from lvskeeper.kernel.ipvs_reader import ReadingSocket
from lvskeeper.observe.dry_run_events import WouldDo, WouldDoNothing

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

LIPS = "local_address_group lips {\n  203.0.113.10-11 back0\n}\n"
VIP = "198.51.100.1"


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up; ip link add back0 type veth peer back9; ip link set back0 up")
        run("echo 1 > /proc/sys/net/ipv4/conf/back0/rp_filter")
        run("nft add table inet another")
        yield


@pytest.fixture
def kernel() -> FakeIpvs:
    return FakeIpvs(MAINLINE)


def surroundings() -> str:
    """What a director might change besides IPVS: rules, addresses, links, routes, sysctls."""
    commands = ("nft list ruleset", "ip -br address", "ip -br link", "ip route show table all",
                "ip rule", "sysctl -e -a -r '^net[.](ipv4|ipv6|netfilter|core)'")  # fmt: skip
    # The counters of what passes by are no settings
    return "\n".join(
        run(f"{command} 2>/dev/null | grep -v nf_conntrack_count") for command in commands
    )


def everything(folder: Path) -> str:
    """A virtual server that has to do with all that a director writes."""
    script = folder / "notify.sh"
    script.write_text(f"#!/bin/sh\necho notified >>{folder}/notified\n")
    script.chmod(0o755)
    probe = folder / "probe.sh"
    probe.write_text(f"#!/bin/sh\ntouch {folder}/probed\n")
    probe.chmod(0o755)
    head = (
        f"global_defs {{\n  script_user root\n  rs_init_notifies\n  lvs_notify_fifo {folder}/fifo\n"
        "  smtp_server 127.0.0.1\n  notification_email {\n    root@localhost\n  }\n"
        f"  ipvs_sysctls {{\n    expire_nodest_conn 1\n  }}\n}}\n{LIPS}"
    )
    extra = (
        "  alpha\n  laddr_group_name lips\n  syn_proxy\n  vip_bind_dev back0\n  smtp_alert\n"
        f'  quorum_up "{script}"\n  quorum_down "{script}"\n'
    )
    text = configuration(*PORTS[:2], kind="FNAT", head=head, extra=extra)
    notified = f'notify_up "{script}"\n  notify_down "{script}"\n'
    checked = f'  MISC_CHECK {{\n    misc_path "{probe}"\n  }}\n  TCP_CHECK'
    return text.replace("TCP_CHECK", notified + checked, 1)


def would(here: Site) -> list[str]:
    return [event.change for event in here.events if isinstance(event, WouldDo)]


async def test_it_tells_what_a_daemon_would_do_and_does_none_of_it(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    before = surroundings()
    async with listening(*PORTS[:2]) as servers, site(kernel, tmp_path, DryRun) as here:
        applied = await here.applied(everything(tmp_path))
        assert (applied.operations, applied.virtual_servers, applied.real_servers) == (0, 1, 2)
        assert "add local address 203.0.113.10 on back0" in would(here)
        await here.until(lambda: f"add virtual address {VIP} on back0" in would(here))
        assert any(one.startswith("add nftables ruleset:") for one in would(here))
        up = f"run notify_up of 127.0.0.1:{PORTS[0]}: {tmp_path}/notify.sh"
        await here.until(lambda: up in would(here))
        assert (tmp_path / "probed").exists()  # the script of a check is a check
        servers[PORTS[0]].close()
        await here.until(lambda: any("run notify_down" in one for one in would(here)))
        refused = await here.question(Override("drain", f"127.0.0.1:{PORTS[1]}"))
        assert refused.problem is not None
        assert "dry run" in refused.problem.message
        assert await here.ask(Stop(remove=True)) == Stopped(kept=True)
    assert (kernel.writes, kernel.table) == ([], {})
    assert here.mails == []
    assert not (tmp_path / "notified").exists()
    assert not (tmp_path / "fifo").exists()
    assert not (tmp_path / "director.json").exists()
    assert surroundings() == before


async def test_beside_another_director_it_agrees_or_tells_the_difference(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.dry_run.LOOK_INTERVAL", 0.1)
    monkeypatch.setattr("lvskeeper.daemon.dry_run.LASTS", 0.3)
    text = configuration(*PORTS[:2])
    gone = f"delete destination 127.0.0.1:{PORTS[0]}"
    folders = [tmp_path / "theirs", tmp_path / "ours"]
    for folder in folders:
        folder.mkdir()
    async with (
        listening(*PORTS[:2]) as servers,
        site(kernel, folders[0]) as theirs,
        site(kernel, folders[1], DryRun) as here,
    ):
        await theirs.applied(text)
        await theirs.until(lambda: len(theirs.destinations()) == 2)
        await here.applied(text)
        await here.until(lambda: here.named(WouldDoNothing.NAME))
        assert would(here) == []
        # Both find out that it died; what the other has done is no difference any more.
        servers[PORTS[0]].close()
        await here.until(lambda: theirs.destinations() == [PORTS[1]])
        await here.until(lambda: here.named("real_server_down"))
        assert all(f"127.0.0.1:{PORTS[0]}" in one for one in would(here))
        # Left alone, the table stays as it is: that is told, and is over when the server is back.
        await theirs.gone()
        writes, table = len(kernel.writes), kernel.table
        agreed = len(here.named(WouldDoNothing.NAME))
        servers[PORTS[1]].close()
        gone = f"delete destination 127.0.0.1:{PORTS[1]} of tcp {VIP}:80"
        await here.until(lambda: gone in would(here))
        async with listening(PORTS[1]):
            await here.until(lambda: len(here.named(WouldDoNothing.NAME)) > agreed)
        # What somebody else does, and no check of ours, is told when it lasts.
        kernel.load({})
        await here.until(lambda: any("add service" in one for one in would(here)))
        kernel.load(table)
        assert len(kernel.writes) == writes


async def test_a_client_that_only_reads_sends_nothing_else(kernel: FakeIpvs) -> None:
    client = IpvsClient(lambda: ReadingSocket(kernel.socket), load=lambda: None)
    client.open()
    assert client.services() == {}
    with pytest.raises(RuntimeError, match="changes IPVS"):
        client.flush()
    assert kernel.writes == []
