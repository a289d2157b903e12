"""A laboratory whose director is served by keepalived, on a kernel with IPVS."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.waiting import wait_until

from lvskeeper.lab.servers import nginx_server
from lvskeeper.lab.topology import Laboratory

PATIENCE = 120.0
PORT = 8080


@dataclass
class KeepalivedSite:
    lab: Laboratory
    folder: Path
    file: Path
    process: "subprocess.Popen[str]"

    def table(self) -> str:
        """Return the IPVS table, as text."""
        return self.lab.director.run(["ipvsadm", "-Ln"]).stdout

    def wait_for(self, settled: Callable[[str], bool]) -> None:
        """Wait until the table is as it should be."""
        wait_until(
            lambda: settled(self.table()),
            lambda: self.table() + (self.folder / "their.log").read_text(),
            limit=PATIENCE,
            pause=0.2,
        )

    def stop(self) -> None:
        """End keepalived, which leaves its table."""
        self.process.terminate()
        self.process.wait(60)


def start_server(lab: Laboratory, number: int, folder: Path) -> None:
    """Start the real server *number*, counted from 1."""
    nginx_server(lab.servers[number - 1], f"rs{number}", PORT, folder / f"rs{number}")


@contextlib.contextmanager
def keepalived_site(folder: Path, text: str, *servers: int) -> Iterator[KeepalivedSite]:
    """Serve *text* by keepalived; of the real servers those with the numbers *servers* run."""
    file = folder / "keepalived.conf"
    file.write_text(text)
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Laboratory())
        route_back(lab)
        for number in servers:
            start_server(lab, number, folder)
        command = [
            "keepalived", "-n", "-C", "-l", "--dont-release-ipvs", "-f", str(file),
            "-p", str(folder / "k.pid"), "-c", str(folder / "c.pid"),
        ]  # fmt: skip
        with (folder / "their.log").open("w") as log:
            process = lab.director.popen(command, stdout=log, stderr=log)
        stack.callback(process.kill)
        yield KeepalivedSite(lab, folder, file, process)


def route_back(lab: Laboratory) -> None:
    """Let the answers of real servers find the client by way of the director, as NAT needs it."""
    lab.router.ip("route add 192.0.2.0/24 via 10.0.0.1")
    for number, server in enumerate(lab.servers, start=1):
        server.ip(f"route add 192.0.2.0/24 via 10.1.{number}.1")


def stop_servers(lab: Laboratory, numbers: Sequence[int]) -> None:
    """End all that runs on the real servers *numbers*."""
    for number in numbers:
        name = lab.servers[number - 1].name
        pids = subprocess.run(
            ["ip", "netns", "pids", name], check=True, capture_output=True, text=True
        ).stdout.split()
        subprocess.run(["kill", "-KILL", *pids], check=True)
