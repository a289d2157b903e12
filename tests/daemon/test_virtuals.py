"""What is told while virtual servers are taken over from one configuration to the next."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from support.fake_ipvs import FakeIpvs

from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.loader import load_file
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.table import TableKeeper
from lvskeeper.daemon.virtuals import Virtuals
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.kernel.ipvs import IpvsClient

if TYPE_CHECKING:
    from lvskeeper.observe.events import Event

pytestmark = [pytest.mark.root, pytest.mark.asyncio]


def spec_of(folder: Path, router_id: str, check: str) -> DirectorSpec:
    file = folder / "site.conf"
    file.write_text(
        f"global_defs {{\n  router_id {router_id}\n}}\n"
        "virtual_server 198.51.100.1 80 {\n  protocol TCP\n  lb_algo rr\n  lb_kind NAT\n  alpha\n"
        f'  real_server 127.0.0.1 8091 {{\n    notify_up "{folder}/script" root\n    {check}\n'
        "  }\n}\n"
    )
    return msgspec.json.decode(load_file(str(file)).spec, type=DirectorSpec)


async def test_scripts_of_a_reload_get_the_router_id_of_that_reload(tmp_path: Path) -> None:
    script, log = tmp_path / "script", tmp_path / "log"
    script.write_text(f'#!/bin/sh\necho "$LVSKEEPER_EVENT $LVSKEEPER_ROUTER_ID" >>{log}\n')
    script.chmod(0o755)
    told: list[Event] = []
    kernel = FakeIpvs(MAINLINE)
    client = IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls)
    client.open()
    table = TableKeeper(client, told.append)
    announcer = Announcer(told.append, lambda _mail: None)
    virtuals = Virtuals(told.append, announcer)
    await virtuals.adopt(spec_of(tmp_path, "d1", "TCP_CHECK {\n    }"), table, {})
    await virtuals.adopt(spec_of(tmp_path, "d2", ""), table, {})
    await announcer.close(10)
    assert log.read_text() == "up d2\n"


async def test_what_a_reload_leaves_alone_keeps_its_health_itself(tmp_path: Path) -> None:
    told: list[Event] = []
    kernel = FakeIpvs(MAINLINE)
    client = IpvsClient(kernel.socket, load=lambda: None, sysctls=kernel.sysctls)
    client.open()
    table = TableKeeper(client, told.append)
    announcer = Announcer(told.append, lambda _: None)
    virtuals = Virtuals(told.append, announcer)
    await virtuals.adopt(spec_of(tmp_path, "d1", "TCP_CHECK {\n    }"), table, {})
    (before,) = virtuals.pools.values()
    await virtuals.adopt(spec_of(tmp_path, "d2", "TCP_CHECK {\n    }"), table, {})
    assert list(virtuals.pools.values()) == [before]
    await virtuals.adopt(spec_of(tmp_path, "d2", "TCP_CHECK {\n retry 9\n    }"), table, {})
    assert list(virtuals.pools.values()) != [before]
    await announcer.close(10)
