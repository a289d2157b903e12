"""Short words for tests of the VRRP machine."""

from typing import Any

from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.instance import Instance
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import State
from lvskeeper.vrrp.types import Advert, InstanceKey

KEY = InstanceKey("eth0", 4, 51)
LOW = parse_address("192.0.2.1")
OURS = parse_address("192.0.2.2")
HIGH = parse_address("192.0.2.3")
START = 100.0


def spec(**changes: Any) -> InstanceSpec:
    """A version 3 instance of priority 100 at 192.0.2.2."""
    values: dict[str, Any] = {"key": KEY, "name": "VI_1", "source": OURS, "version": 3}
    return InstanceSpec(**(values | changes))


def advert(priority: int, interval: float = 1.0) -> Advert:
    return Advert(3, KEY.vrid, priority, interval, ())


def expire(vi: Instance) -> list[fx.Effect]:
    """Let the timer fire in time, over an empty socket; return what follows."""
    at = vi.deadline()
    effects = vi.on_timer(at)
    return vi.on_timer(at) if effects == [fx.LookAgain(vi.key)] else effects


def backup(made: InstanceSpec) -> Instance:
    vi = Instance(made)
    vi.on(ev.Started(), START)
    assert vi.state is State.BACKUP
    return vi


def master(made: InstanceSpec) -> Instance:
    vi = backup(made)
    expire(vi)
    assert vi.state is State.MASTER
    return vi
