"""FRR's vrrpd in a namespace, started by hand: a peer for tests, of version 3.

vrrpd holds no addresses itself. It wants a macvlan with the virtual MAC, which has the VIPs all the
time, and lets the kernel keep it down (``protodown``) unless it is master.
"""

import contextlib
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import IO, Any, Final, final

from lvskeeper.lab import netns
from lvskeeper.lab.netns import Namespace

PATIENCE: Final = 15.0
"""Seconds that anything may take."""
USER: Final = "frr"
"""Whom the daemons become, and who owns their folder."""
VMAC: Final = "frr-vmac"
LINK_LOCAL: Final = "fe80::5"
"""Of the macvlan: source of IPv6 adverts."""

_WHERE: Final = ("/usr/lib/frr", "/usr/libexec/frr")
_VRRPD: Final = shutil.which("vrrpd", path=":".join(_WHERE))
HAS_FRR: Final = _VRRPD is not None and shutil.which("vtysh") is not None


@final
@dataclass(frozen=True)
class Router:
    """One virtual router; its VIPs are of one family."""

    vrid: int = 5
    vips: tuple[str, ...] = ("192.0.2.100",)
    priority: int = 200
    interval: float = 1.0
    """Seconds, in hundredths."""
    preempt: bool = True
    device: str = "eth0"

    @property
    def six(self) -> bool:
        return ":" in self.vips[0]

    @property
    def mac(self) -> str:
        return f"00:00:5e:00:0{2 if self.six else 1}:{self.vrid:02x}"

    @property
    def config(self) -> str:
        """The configuration of vrrpd."""
        head = f" vrrp {self.vrid}"
        lines = [
            f"interface {self.device}",
            f"{head} version 3",
            f"{head} priority {self.priority}",
            f"{head} advertisement-interval {round(self.interval * 1000)}",
            "" if self.preempt else f" no vrrp {self.vrid} preempt",
            *(f"{head} {'ipv6' if self.six else 'ip'} {vip}" for vip in self.vips),
        ]
        return "\n".join(filter(None, lines)) + "\n"


@final
class Frr:
    """zebra and vrrpd in *host*; both can be ended and started again."""

    def __init__(self, host: Namespace, folder: Path, router: Router) -> None:
        self._host = host
        self._folder = folder
        self._router = router
        self._running: list[Popen[str]] = []

    def prepare(self) -> None:
        """Make the macvlan and the configuration."""
        router = self._router
        self._host.ip(
            f"link add {VMAC} link {router.device} address {router.mac} type macvlan mode bridge"
        )
        netns.set_sysctls(self._host.name, {f"ipv6/conf/{VMAC}/addr_gen_mode": "1"})
        tail = f"/64 dev {VMAC} nodad" if router.six else f"/24 dev {VMAC}"
        self._host.ip(*(f"addr add {vip}{tail}" for vip in router.vips), f"link set {VMAC} up")
        if router.six:
            # added last it is the first of its scope, and so the source of adverts, not a VIP
            self._host.ip(f"addr add {LINK_LOCAL}/64 dev {VMAC} nodad")
        shutil.chown(self._folder, USER)
        (self._folder / "zebra.conf").touch()
        (self._folder / "vrrpd.conf").write_text(router.config)

    def start(self) -> None:
        """Run both daemons; they are ready when this returns."""
        with (self._folder / "frr.log").open("a") as log:
            for daemon in ("zebra", "vrrpd"):
                # what a killed one has left would look like a daemon that is ready
                (self._folder / f"{daemon}.vty").unlink(missing_ok=True)
                self._running.append(self._popen(daemon, log))
                self._wait((self._folder / f"{daemon}.vty").exists, f"{daemon} does not start")
        self._wait(lambda: bool(self.show()), "vrrpd has no virtual router")

    def _popen(self, daemon: str, log: IO[str]) -> Popen[str]:
        assert _VRRPD is not None, "FRR is not here"
        folder = self._folder
        command = [
            str(Path(_VRRPD).with_name(daemon)), "--config_file", str(folder / f"{daemon}.conf"),
            "--pid_file", str(folder / f"{daemon}.pid"), "--vty_socket", str(folder),
            "--socket", str(folder / "zserv"), "--vty_port", "0",
            "--user", USER, "--group", USER, "--log", "stdout",
        ]  # fmt: skip
        return self._host.popen(command, stdout=log, stderr=log)

    def show(self) -> dict[str, Any]:
        """Return what vrrpd says of the virtual router, nothing where there is none."""
        done = self._host.run(
            ["vtysh", "--vty_socket", str(self._folder), "-d", "vrrpd", "-c", "show vrrp json"],
            check=False,
        )
        if done.returncode or not done.stdout.strip():
            return {}
        routers: list[dict[str, Any]] = json.loads(done.stdout)
        return next((one for one in routers if one["vrid"] == self._router.vrid), {})

    @property
    def state(self) -> str:
        """``Initialize``, ``Backup`` or ``Master``; empty where it cannot be asked."""
        family = "v6" if self._router.six else "v4"
        return str(self.show().get(family, {}).get("status", ""))

    def wait_for(self, state: str) -> None:
        """Wait until it is in *state*."""
        self._wait(lambda: self.state == state, f"not {state}")

    def terminate(self) -> None:
        """End both in order: a master says so with priority 0."""
        for child in reversed(self._running):
            child.send_signal(signal.SIGTERM)
            child.wait(PATIENCE)
        self._running.clear()

    def kill(self) -> None:
        """End both at once, with everything left where it is."""
        for child in reversed(self._running):
            child.kill()
        for child in self._running:
            child.wait(PATIENCE)
        self._running.clear()

    def log(self) -> str:
        """Return what both said in all runs."""
        return (self._folder / "frr.log").read_text()

    def _wait(self, what: Callable[[], bool], complaint: str) -> None:
        until = time.monotonic() + PATIENCE
        while not what():
            ended = [child.args for child in self._running if child.poll() is not None]
            if ended or time.monotonic() > until:
                raise AssertionError(f"{complaint}; ended: {ended}\n{self.log()}")
            time.sleep(0.05)


@contextlib.contextmanager
def frr(host: Namespace, folder: Path, router: Router) -> Iterator[Frr]:
    """Yield a running vrrpd; *folder* is empty and where user ``frr`` may go."""
    made = Frr(host, folder, router)
    made.prepare()
    try:
        made.start()
        yield made
    finally:
        made.kill()
