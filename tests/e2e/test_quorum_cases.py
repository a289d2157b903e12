"""keepalived and lvskeeper play the table of quorums and sorry servers on a real kernel."""

import contextlib
import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, final

import pytest
from support import quorum_cases as q

from lvskeeper.lab import netns
from lvskeeper.lab.daemon import Daemon
from lvskeeper.lab.netns import Namespace, laboratory_prefix, run_ip

pytestmark = [
    pytest.mark.root,
    pytest.mark.ipvs,
    pytest.mark.long,
    pytest.mark.timeout(1200),
]

PATIENCE = 120.0
"""Seconds for the outcome of a step; emulated machines take their time."""
RELOAD = 300.0
"""Seconds for a reload on such a machine, beside others that are as slow."""
CALM = 2 * q.DELAY
"""Seconds in which an outcome has to stay as it is: every check has its turn, and its retry."""
LISTENERS = """
import socket, sys
held = {}
for line in sys.stdin:
    wanted = set(map(int, line.split()))
    for port in set(held) - wanted:
        held.pop(port).close()
    for port in wanted - set(held):
        held[port] = socket.create_server(("127.0.0.1", port), backlog=4096)
    print("done", flush=True)
"""
"""Connections are never taken: there is room for all."""

DESTINATION = re.compile(r"-a -t ([\d.]+:\d+) -r 127\.0\.0\.1:(\d+) .*-w (\d+)")
LIMITS = re.compile(r"TCP +([\d.]+:\d+)|  -> 127\.0\.0\.1:(\d+) +(\d+) +(\d+)")
LINE = re.compile(
    r"(?:RS \[127\.0\.0\.1\]:tcp:(?P<port>\d+) |VS )"
    r"\[(?:198\.51\.100\.(?P<place>\d+)\]:tcp:80|group(?P<group>\d+)\]:0) (?P<state>UP|DOWN)"
)


class Player(ABC):
    """A daemon that plays all cases in a network namespace of its own."""

    name: ClassVar[str]

    def __init__(self, space: Namespace, folder: Path) -> None:
        self.space = space
        self.folder = folder
        self.file = folder / "site.conf"
        self.lines = b""
        self.here: set[int] = set()
        """Cases whose address is on this host."""
        os.mkfifo(folder / "fifo")
        self.fifo = os.open(folder / "fifo", os.O_RDWR | os.O_NONBLOCK)
        script = folder / "run"
        script.write_text('#!/bin/sh\nread status <"$1"\nexit $status\n')
        script.chmod(0o755)
        self.listeners = space.python(
            "-c", LISTENERS, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.seen = ""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def reload(self) -> None: ...

    def play(self) -> list[list[str]]:
        """Return the outcome of each step, by step and case; nothing of cases that have ended."""
        steps = max(len(case.steps) for case in q.CASES)
        return [self._step(index) for index in range(steps)]

    def _step(self, index: int) -> list[str]:
        self._prepare(index)
        text = q.configuration(index, self.folder)
        if index == 0:
            self.file.write_text(text)
            self.start()
        elif text != self.seen:
            self.file.write_text(text)
            self.reload()
        self.seen = text
        return self._outcomes(index)

    def _prepare(self, index: int) -> None:
        """Let those be well that are to be well, and put addresses where they are to be."""
        ports = []
        for number, case in enumerate(q.CASES):
            step = q.step_of(case, index) or case.steps[-1]
            well = q.well(step)
            for one in q.configured(case, index)[1]:
                if one.script:
                    (self.folder / f"{number}{one.name}").write_text(f"{well.get(one.name, 1)}\n")
            ports += [q.port(number, name) for name in well]
            if step.here is not None and step.here is not (number in self.here):
                change = "add" if step.here else "del"
                self.here ^= {number}
                place = [f"{q.address(number)}/32", "dev", "lo"]
                self.space.run(["ip", "address", change, *place])
        assert self.listeners.stdin is not None
        assert self.listeners.stdout is not None
        self.listeners.stdin.write(" ".join(map(str, ports)) + "\n")
        self.listeners.stdin.flush()
        assert self.listeners.stdout.readline() == "done\n"

    def expected(self, index: int) -> list[str]:
        """Return what the table says of a step."""
        steps = (self.of_case(case) for case in q.CASES)
        return [each[index] if index < len(each) else "" for each in steps]

    @staticmethod
    @abstractmethod
    def of_case(case: q.Case) -> tuple[str, ...]: ...

    def _outcomes(self, index: int) -> list[str]:
        """Wait until all is as expected, or for long enough, and stays so; return what is."""
        deadline = time.monotonic() + PATIENCE
        calm = time.monotonic() + CALM
        last: list[str] = []
        while time.monotonic() < max(deadline, calm):
            time.sleep(0.2)
            self._read()
            now = self._now(index)
            if now != last:
                last, calm = now, time.monotonic() + CALM
            elif now == self.expected(index):
                deadline = 0.0
        self.lines = b""
        return last

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.lines += os.read(self.fifo, 65536)

    def _now(self, index: int) -> list[str]:
        tables: dict[int, dict[str, str]] = {}
        limits = self._limits()
        for line in self.space.run(["ipvsadm", "-Sn"]).stdout.splitlines():
            if dest := DESTINATION.match(line):
                service, port = dest[1], int(dest[2])
                number = int(service.partition(":")[0].rpartition(".")[2]) - 1
                both = limits.get((service, port), (0, 0))
                member = q.member(int(dest[3]), *both)
                tables.setdefault(number, {})[q.name_of(number, port)] = member
        told: dict[int, list[str]] = {}
        for text in self.lines.replace(b"\0", b"").decode().splitlines():
            found = LINE.fullmatch(text)
            assert found is not None, text
            number = int(found["group"]) if found["group"] else int(found["place"]) - 1
            who = q.name_of(number, int(found["port"])) if found["port"] else "VS"
            told.setdefault(number, []).append(("+" if found["state"] == "UP" else "-") + who)
        return [
            q.outcome(tables.get(number, {}), told.get(number, ()))
            if q.step_of(case, index)
            else ""
            for number, case in enumerate(q.CASES)
        ]

    def _limits(self) -> dict[tuple[str, int], tuple[int, int]]:
        """Return the thresholds by service and port, which ipvsadm does not save."""
        found: dict[tuple[str, int], tuple[int, int]] = {}
        service = ""
        for line in self.space.run(["ipvsadm", "-Ln", "--thresholds"]).stdout.splitlines():
            if match := LIMITS.match(line):
                service = match[1] or service
                if match[2]:
                    found[service, int(match[2])] = int(match[3]), int(match[4])
        return found


@final
class Theirs(Player):
    """keepalived."""

    name = "keepalived"

    def start(self) -> None:
        with (self.folder / "log").open("w") as log:
            self.process = self.space.popen(
                ["keepalived", "--check", "--dont-fork", "--log-console", "--log-detail",
                 "--use-file", str(self.file), "--pid", str(self.folder / "pid"),
                 "--checkers_pid", str(self.folder / "checkers_pid")],
                stdout=log, stderr=log,
            )  # fmt: skip

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    @staticmethod
    def of_case(case: q.Case) -> tuple[str, ...]:
        return case.theirs


@final
class Ours(Player):
    """lvskeeper."""

    name = "lvskeeper"

    def start(self) -> None:
        self.daemon = Daemon(self.space, self.file, self.folder / "run_dir")
        self.daemon.start()

    def reload(self) -> None:
        mark = self.daemon.reload()
        self.daemon.wait_for("reload_applied", since=mark, timeout=RELOAD)

    @staticmethod
    def of_case(case: q.Case) -> tuple[str, ...]:
        return case.expected


@pytest.fixture(params=[Theirs, Ours], ids=lambda kind: kind.name)
def player(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Player]:
    name = f"{laboratory_prefix()}quorum"
    run_ip("netns", "add", name)
    space = Namespace(name)
    try:
        space.ip("link set lo up")
        yield request.param(space, tmp_path)
    finally:
        netns.delete([name])
        space.reap()


def test_outcomes_are_those_of_the_table(player: Player) -> None:
    seen = player.play()
    wrong = [
        f"{case.title}, step {index}: {was!r}, in the table {wanted!r}"
        for index, outcomes in enumerate(seen)
        for case, was, wanted in zip(q.CASES, outcomes, player.expected(index), strict=True)
        if was != wanted
    ]
    assert not wrong, "\n".join(wrong)
