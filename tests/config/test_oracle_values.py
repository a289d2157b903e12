"""keepalived's own dump of a configuration with definitions and sequences, against our model."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from support.oracle import CONFIG_ID
from support.vrrp_net import two_hosts

from lvskeeper.config.load import load
from lvskeeper.kernel.files import LocalFiles, local_surroundings
from lvskeeper.lab.netns import Namespace
from lvskeeper.units import format_address

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived"),
]

PATIENCE = 20.0
TEXT = """\
$NAME=x  y \\# z
$INSTANCE=vrrp_instance V${i} { \\
    state BACKUP \\
    interface eth0 # of both \\
    virtual_router_id ${i}0 \\
    priority 10$i \\
    @host advert_int 3 \\
    @^host advert_int 4 \\
    virtual_ipaddress { \\
        ~LST({a, b}, {1, 24}, {2, 32}) 192.0.2.${i}${a}/$b dev eth0 \\
    } \\
}
global_defs { router_id "r ${NAME}" }
~SEQ(i, 1, 2) $INSTANCE
"""
WANTED = ("Router ID", "VRRP Instance", "Virtual Router ID", "Priority", "Advert interval")


def dumped(host: Namespace, path: Path) -> list[str]:
    """Return the values that keepalived tells of *path*; it is stopped once it has told all."""
    folder = path.parent
    pids = [f"-{letter}{folder / letter}" for letter in "pr"]
    command = ["keepalived", "-nldPi", CONFIG_ID, "-f", str(path), *pids]
    child = host.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    stop = threading.Timer(PATIENCE, child.kill)
    stop.start()
    told: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        name, _, value = line.partition(": ")[2].strip().partition(" = ")
        words = name.split()
        if name in WANTED:
            told.append(value)
        elif words and words[0].startswith("192.0.2.") and "dev" in words:
            told.append(words[0].removesuffix("/32"))
        if "192.0.2.22" in told:
            break
    stop.cancel()
    child.terminate()
    child.wait(PATIENCE)
    return told


def test_both_read_the_same_values(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text(TEXT)
    config = load(str(path), LocalFiles(), local_surroundings(CONFIG_ID)).config
    assert config is not None
    assert config.vrrp is not None
    ours = [config.global_defs.router_id]
    for one in config.vrrp.instances:
        ours += [one.name, str(one.virtual_router_id), str(one.priority), f"{one.advert_int:g} sec"]
        vips = [f"{format_address(vip.address)}/{vip.prefix}" for vip in one.virtual_ipaddress]
        ours += [vip.removesuffix("/32") for vip in vips]
    with two_hosts() as (host, _):
        theirs = dumped(host, path)
    assert theirs == ours
