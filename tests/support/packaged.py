"""What the tests of all packages ask of the booted machine in which they are installed."""

from typing import Final

from support.debian_box import Machine
from support.waiting import wait_until

CONFIG: Final = """
global_defs {
    vrrp_rt_priority 50
    vrrp_no_swap
}
vrrp_instance VI_1 {
    version 3
    state BACKUP
    interface eth0
    virtual_router_id 51
    priority 150
    advert_int 0.1
    virtual_ipaddress {
        192.0.2.10/24
    }
}
"""
FILE: Final = "etc/lvskeeper/lvskeeper.conf"
UNIT: Final = "lvskeeper.service"


def show(machine: Machine, name: str) -> str:
    """Return the property *name* of the unit."""
    return machine.run("systemctl", "show", "-P", name, UNIT).stdout.strip()


def addresses(machine: Machine) -> str:
    """Return the addresses of eth0, in a line."""
    return machine.run("ip", "-br", "address", "show", "dev", "eth0").stdout


def journal(machine: Machine) -> str:
    """Return what the unit has logged."""
    machine.run("journalctl", "--sync")
    return machine.run("journalctl", "-u", UNIT, "-o", "cat").stdout


def becomes_master(machine: Machine) -> None:
    """Wait until it is MASTER and has the address."""
    wait_until(lambda: show(machine, "StatusText") == "MASTER 1/1", "no master", limit=60)
    assert "192.0.2.10/24" in addresses(machine)
