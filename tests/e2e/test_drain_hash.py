"""A drain where the source decides who serves, on a real kernel: nobody is refused for it.

Scheduler ``sh`` leaves a server of weight 0 its part of the hash, and without ``sh-fallback``
refuses who falls into it. The test's clients differ by their ports, which are hashed, too.
"""

from pathlib import Path

import pytest

from lvskeeper.cli.client import Client
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import BACK, VIPS4, Laboratory, Plan, real_server
from lvskeeper.lab.traffic import Traffic
from lvskeeper.observe.views import OverridesView

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.long, pytest.mark.timeout(600)]

LIMIT = 120.0
SERVERS = (1, 2, 3)


def test_no_client_is_refused_for_a_server_that_drains(tmp_path: Path) -> None:
    file, run_dir = tmp_path / "lvskeeper.conf", tmp_path / "run"
    servers = "".join(
        f"  real_server {real_server(number)[0]} 8080 {{\n    TCP_CHECK {{\n    }}\n  }}\n"
        for number in SERVERS
    )
    file.write_text(
        f"local_address_group lips {{\n  10.0.0.10-13 {BACK}\n}}\n"
        f"virtual_server {VIPS4[0]} 80 {{\n  protocol TCP\n  lb_algo sh\n  sh-port\n"
        f"  lb_kind FNAT\n  laddr_group_name lips\n  delay_loop 5\n{servers}}}\n"
    )
    with Laboratory(Plan(lips=False, forwarding=False)) as lab:
        for number, space in enumerate(lab.servers, 1):
            nginx_server(space, f"rs{number}", 8080, tmp_path / f"nginx{number}")
        with Daemon(lab.director, file, run_dir) as daemon:
            daemon.start()
            with Traffic(lab.client, f"http://{VIPS4[0]}/", rate=4, timeout=20.0) as requests:
                requests.wait_for(lambda seen: len(seen.servers) == len(SERVERS), LIMIT)
                asked: dict[str, object] = {"action": "drain", "server": real_server(1)[0]}
                Client(run_dir).post("/overrides", asked, OverridesView, LIMIT)
                mark = requests.mark()
                counts = requests.wait_for(lambda seen: seen.sent >= 30, LIMIT, since=mark)
                assert "rs1" not in counts.servers, "no new connection"
                assert "sh-fallback" in lab.director.run(["ipvsadm", "-Sn"]).stdout
            assert requests.counts.failed == 0, requests.counts
