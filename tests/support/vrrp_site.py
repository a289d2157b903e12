"""Our daemon on the link of :mod:`support.vrrp_lan`, and perhaps a second one of ours."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.vrrp_lan import OURS, PATIENCE, PROMPT, Announced, Lan, lan, wait_until
from support.vrrp_net import DEVICE

from lvskeeper.lab.daemon import Daemon, Told
from lvskeeper.units import parse_address
from lvskeeper.vrrp.validate import Received

VIP = "192.0.2.100"


def instance(
    name: str = "one",
    *more: str,
    vrid: int = 5,
    priority: int = 100,
    vips: tuple[str, ...] = (VIP,),
    device: str = DEVICE,
    interval: float = 0.1,
    version: int = 3,
) -> str:
    """Return the configuration of an instance."""
    body = "\n  ".join([
        f"interface {device}", f"virtual_router_id {vrid}", f"priority {priority}",
        f"version {version}", f"advert_int {interval:g}", "state BACKUP",
        "virtual_ipaddress {", *vips, "}", *more,
    ])  # fmt: skip
    return f"vrrp_instance {name} {{\n  {body}\n}}\n"


@dataclass
class Site:
    lan: Lan
    daemon: Daemon
    peer: Daemon

    def reload(self, text: str) -> float:
        """Let our daemon go on with *text*; return the moment before it did."""
        self.daemon.file.write_text(PROMPT + text)
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark)
        return mark

    def wait(
        self, state: str, *, since: float = float("-inf"), name: str = "one", who: str = OURS
    ) -> Told:
        """Wait until an instance of ours, or of the peer, enters *state*."""
        daemon = self.daemon if who == OURS else self.peer
        return daemon.wait_for(
            "vrrp_state_changed", since=since, timeout=PATIENCE, instance=name, new=state
        )

    def faults(self, text: str, *, since: float = float("-inf"), name: str = "one") -> Told:
        """Wait until the faults of an instance of ours are *text*."""
        return self.daemon.wait_for(
            "vrrp_faults_changed", since=since, timeout=PATIENCE, instance=name, faults=text
        )

    def wait_for_holders(self, *hosts: str, vip: str = VIP) -> float:
        """Wait until exactly *hosts* have *vip*; return when that was seen."""
        address = parse_address(vip)
        wait_until(
            lambda: self.lan.holders(address) == [*hosts],
            lambda: f"{vip} is at {self.lan.holders(address)}, not at {hosts}\n{self.story()}",
        )
        return time.monotonic()

    def addresses(self, device: str = DEVICE) -> dict[str, Any]:
        """Return what the kernel says of each address of our *device*."""
        shown = self.lan.ours.run(["ip", "-j", "address", "show", "dev", device]).stdout
        return {info["local"]: info for info in json.loads(shown)[0]["addr_info"]}

    def announcements(self, *, since: float, vip: str = VIP, host: str = OURS) -> list[float]:
        """Return when since a time of day *host* told neighbours that it has *vip*."""
        address = parse_address(vip)
        return [
            frame.at for frame in self.lan.wire.settled()
            if frame.host == host and frame.at >= since
            and isinstance(frame.what, Announced) and frame.what.address == address
        ]  # fmt: skip

    def priorities(self, *, since: float, vrid: int = 5, host: str = OURS) -> list[int]:
        """Return the priorities in the adverts of *host* since a time of day."""
        return [
            frame.what.message.priority for frame in self.lan.wire.settled()
            if frame.host == host and frame.at >= since
            and isinstance(frame.what, Received) and frame.what.vrid == vrid
        ]  # fmt: skip

    def story(self) -> str:
        """Return what our daemons told."""
        return "\n".join(
            " ".join([told.name, *(f"{k}={v}" for k, v in told.fields.items())])
            for told in [*self.daemon.told, *self.peer.told]
        )


@contextmanager
def site(folder: Path, here: str, there: str = "") -> Iterator[Site]:
    """Yield the site with our daemon and one at the peer's place, neither of them started."""
    with lan() as net, ExitStack() as stack:
        daemons = []
        for name, host, text in (("here", net.ours, here), ("there", net.theirs, there)):
            file = folder / f"{name}.conf"
            file.write_text(PROMPT + text)
            daemons.append(stack.enter_context(Daemon(host, file, folder / f"run-{name}")))
        made = Site(net, *daemons)
        try:
            yield made
            assert made.daemon.noise == ""
            assert made.peer.noise == ""
        except BaseException as error:
            error.add_note(made.story())
            raise
