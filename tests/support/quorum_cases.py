"""Cases of quorums and sorry servers: what keepalived makes of each, and what lvskeeper does.

Real keepalived and lvskeeper play them side by side (``tests/e2e/test_quorum_cases.py``), the pure
machine plays them alone (``tests/health/test_quorum_cases.py``), and the manual shows them. All
cases stand in one configuration: each is a virtual server with an address of its own.

An outcome is who is in the kernel's table, then what was told since the step before. ``a b:0`` is
the real server *a* with weight 1 and *b* with weight 0, ``S`` the sorry server; ``-a`` tells that
*a* went down, ``+VS`` that the quorum was gained.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

SORRY_PORT: Final = 9
SECOND_CHECK: Final = 5
"""Ports beside that of the first server of a case: the sorry server, second checks of *a*."""
DELAY: Final = 3.0
"""``delay_loop`` of all: emulated machines have a hard time with so many checks."""


@final
@dataclass(frozen=True, slots=True)
class Real:
    """A real server of a case; its check is that of TCP unless it says otherwise."""

    name: str
    weight: int = 1
    options: str = ""
    script: bool = False
    """MISC_CHECK with ``misc_dynamic``: its status is the number behind the name in a step."""
    twice: bool = False
    """Two checks."""


A, B, C = Real("a"), Real("b"), Real("c")


@final
@dataclass(frozen=True, slots=True)
class Step:
    """A moment: who is well (``a b=7``: *b* ends with status 7), and what is configured."""

    live: str
    options: str | None = None
    """Options of the virtual server from now on; ``None``: as before."""
    servers: tuple[Real, ...] | None = None
    here: bool | None = None
    """Whether the virtual address is on this host."""


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One virtual server, and what becomes of it; *ours* where it differs, with the reason."""

    title: str
    servers: tuple[Real, ...]
    options: str
    steps: tuple[Step, ...]
    theirs: tuple[str, ...]
    ours: tuple[str, ...] = ()
    why: str = ""
    group: bool = False
    """A virtual_server_group."""

    @property
    def expected(self) -> tuple[str, ...]:
        """What lvskeeper makes of each step."""
        return self.ours or self.theirs


SORRY: Final = "sorry_server 127.0.0.1 {sorry}"


def live(*steps: str) -> tuple[Step, ...]:
    """Return steps that change nothing but who is well."""
    return tuple(map(Step, steps))


CASES: Final = (
    Case(
        "the last server fails, and comes back", (A, B), "", live("a b", "b", "", "a"),
        ("a b +VS", "b -a", " -b -VS", "a +a +VS"),
    ),
    Case(
        "a sorry server stands in", (A, B), SORRY, live("a b", "b", "", "a", "a b"),
        ("a b +VS", "b -a", "S -b -VS", "a +a +VS", "a b +b"),
    ),
    Case(
        "the quorum is lost while servers live", (A, B, C), f"{SORRY}\nquorum 2",
        live("a b c", "c", "a c", "a b c"),
        ("a b c +VS", "S -a -b -VS", "a c +a +VS", "a b c +b"),
    ),
    Case(
        "the same without a sorry server", (A, B, C), "quorum 2", live("a b c", "c", "a c"),
        ("a b c +VS", "c -a -b -VS", "a c +a +VS"),
    ),
    Case(
        "weights count, not servers", (Real("a", 3), B), f"{SORRY}\nquorum 2",
        live("a b", "a", "", "b", "a b"),
        ("a:3 b +VS", "a:3 -b", "S -a -VS", "S +b", "a:3 b +a +VS"),
    ),
    Case(
        "hysteresis", (A, B, C), f"{SORRY}\nquorum 2\nhysteresis 1",
        live("a b c", "c", "", "a b", "a b c"),
        ("a b c +VS", "c -a -b", "S -c -VS", "S +a +b", "a b c +c +VS"),
    ),
    Case(
        "a quorum above the sum of weights", (A, B), f"{SORRY}\nquorum 9", live("a b", "a", "a b"),
        ("a b +VS", "S -b -VS", "a b +b +VS"),
    ),
    Case(
        "a hysteresis that is not below the quorum", (A, B, C), f"{SORRY}\nquorum 2\nhysteresis 2",
        live("a b c", "c", "", "a b", "a b c"),
        ("a b c +VS", "c -a -b", "S -c -VS", "S +a +b", "a b c +c +VS"),
    ),
    Case(
        "inhibit_on_failure", (A, B), "inhibit_on_failure", live("a b", "b", "", "a b"),
        ("a b +VS", "a:0 b -a", "a:0 b:0 -b -VS", "a b +a +b +VS"),
    ),
    Case(
        "inhibit_on_failure and a sorry server", (A, B), f"{SORRY}\ninhibit_on_failure",
        live("a b", "", "a"),
        ("a b +VS", "a:0 b:0 S -a -b -VS", "a b:0 +a +VS"),
    ),
    Case(
        "the same, and the quorum is lost while servers live", (A, B),
        f"{SORRY}\ninhibit_on_failure\nquorum 2", live("a b", "b", "a b"),
        ("a b +VS", "a:0 b:0 S -a -VS", "a b +a +VS"),
    ),
    Case(
        "sorry_server_inhibit", (A,), f"{SORRY}\nsorry_server_inhibit", live("a", "", "a"),
        ("a S:0 +VS", "S -a -VS", "a S:0 +a +VS"),
    ),
    Case(
        "nobody is well at the start", (A, B), SORRY, live("", "a"),
        ("S -a -b +VS -VS", "a +a +VS"),
    ),
    Case(
        "alpha: nobody is well at the start", (A, B), f"{SORRY}\nalpha", live("", "a", "a b"),
        ("S -a -b -VS", "a +a +VS", "a b +b"),
        ("S -VS", "a +a +VS", "a b +b"),
        "keepalived tells of servers that never were up.",
    ),
    Case(
        "alpha without a sorry server", (A, B), "alpha", live("", "a", "a b"),
        (" -a -b", "a +a +VS", "a b +b"),
        ("", "a +a +VS", "a b +b"),
        "keepalived tells of servers that never were up.",
    ),
    Case(
        "alpha: all are well", (A, B), "alpha", live("a b", "b"),
        ("a b +a +b +VS", "b -a"),
    ),
    Case(
        "alpha of one real server", (A, Real("b", options="alpha")), "", live("a", "a b"),
        ("a -b +VS", "a b +b"),
        ("a +VS", "a b +b"),
        "keepalived tells of servers that never were up.",
    ),
    Case(
        "all weights are 0", (Real("a", 0), Real("b", 0)), SORRY, live("a b", "a", ""),
        ("S -VS", "S -b", "S -a"),
    ),
    Case(
        "a server of weight 0 does not help", (Real("a", 0), B), SORRY, live("a b", "a", "a b"),
        ("a:0 b +VS", "S -b -VS", "a:0 b +b +VS"),
    ),
    Case(
        "a weight that a script gives loses the quorum", (Real("a", 5, script=True),),
        f"{SORRY}\nquorum 3", live("a=9", "a=2", "a=6", ""),
        ("a:7 +VS", "S -VS", "a:4 +VS", "S -a -VS"),
    ),
    Case(
        "two checks", (Real("a", twice=True), B), "", live("a a2 b", "a b", "b", "a b", "a a2 b"),
        ("a b +VS", "b -a", "b", "b", "a b +a"),
    ),
    Case(
        "a reload raises the quorum", (A, B), SORRY,
        (Step("a b"), Step("a"), Step("a", f"{SORRY}\nquorum 2"), Step("a b")),
        ("a b +VS", "a -b", "S -VS", "a b +b +VS"),
    ),
    Case(
        "a reload lowers the quorum", (A, B), f"{SORRY}\nquorum 2",
        (Step("a b"), Step("a"), Step("a", SORRY)),
        ("a b +VS", "S -b -VS", "a +VS"),
    ),
    Case(
        "a reload adds a sorry server to a lost quorum", (A,), "",
        (Step("a"), Step(""), Step("", SORRY), Step("a")),
        ("a +VS", " -a -VS", "S -VS", "a +a +VS"),
        ("a +VS", " -a -VS", "S", "a +a +VS"),
        "keepalived tells again what it has told.",
    ),
    Case(
        "a reload changes weights", (A, B), "",
        (Step("a b"), Step("a b", servers=(Real("a", 4), B))),
        ("a b +VS", "a:4 b"),
    ),
    Case(
        "a reload changes thresholds", (A, B), "",
        (
            Step("a b"),
            Step("a b", servers=(Real("a", options="uthreshold 20\nlthreshold 10"), B)),
        ),
        ("a b +VS", "a b"),
        ("a b +VS", "a(10-20) b"),
        "keepalived does not bring changed thresholds into the kernel.",
    ),
    Case(
        "a reload takes a server out and another in", (A, B), "",
        (Step("a b c"), Step("a b c", servers=(A, C))),
        ("a b +VS", "a c -b"),
    ),
    Case(
        "ha_suspend: no check while the address is elsewhere", (A, B), "ha_suspend",
        (Step("a b", here=True), Step("a", here=True), Step("a b", here=False),
         Step("a b", here=True)),
        ("a b +VS", "a -b", "a", "a b +b"),
    ),
    Case(
        "ha_suspend with a group", (A, B), "ha_suspend",
        (Step("a b", here=False), Step("a", here=False), Step("a", here=True)),
        ("a b +VS", "a b", "a b"),
        ("a b +VS", "a b", "a -b"),
        "keepalived finds no address of a group, and never checks it.",
        group=True,
    ),
)  # fmt: skip


def address(number: int) -> str:
    """Return the virtual address of the case at the place *number*."""
    return f"198.51.100.{number + 1}"


def port(number: int, name: str) -> int:
    """Return the port of a real server of the case at the place *number*; ``a2`` is a check's."""
    base = 2000 + 10 * number
    if name == "S":
        return base + SORRY_PORT
    if name == "a2":
        return base + SECOND_CHECK
    return base + "abc".index(name)


def name_of(number: int, its_port: int) -> str:
    """Return which server of a case a port belongs to."""
    return next(name for name in "abcS" if port(number, name) == its_port)


def step_of(case: Case, index: int) -> Step | None:
    """Return the step of *case* at *index*, or nothing where it has ended."""
    return case.steps[index] if index < len(case.steps) else None


def configured(case: Case, index: int) -> tuple[str, tuple[Real, ...]]:
    """Return the options and the servers of *case* at a step."""
    options, servers = case.options, case.servers
    for step in case.steps[: index + 1]:
        options = options if step.options is None else step.options
        servers = servers if step.servers is None else step.servers
    return options, servers


def well(step: Step) -> dict[str, int]:
    """Return who is well in a step, with the status of scripts."""
    parts = (token.partition("=") for token in step.live.split())
    return {name: int(status or 0) for name, _, status in parts}


def block(number: int, case: Case, index: int, folder: Path) -> str:
    """Return the configuration of one case at a step; *folder* has the states of scripts."""
    options, servers = configured(case, index)
    head, before = f"virtual_server {address(number)} 80", ""
    if case.group:
        before = f"virtual_server_group group{number} {{\n{address(number)} 80\n}}\n"
        head = f"virtual_server group group{number}"
    lines = [
        f"{before}{head} {{",
        f"delay_loop {DELAY:g}\nprotocol TCP\nlb_algo rr\nlb_kind NAT\nwarmup 0",
        options.format(sorry=port(number, "S")),
    ]
    for one in servers:
        lines += [
            f"real_server 127.0.0.1 {port(number, one.name)} {{\nweight {one.weight}",
            one.options,
            *_checks(number, one, folder),
            "}",
        ]
    return "\n".join([*filter(None, lines), "}", ""])


def _checks(number: int, one: Real, folder: Path) -> Iterator[str]:
    times = "retry 1\ndelay_before_retry 0.1"
    if one.script:
        command = f"{folder}/run {folder}/{number}{one.name}"
        yield f'MISC_CHECK {{\nmisc_path "{command}"\nmisc_dynamic\nuser root\n{times}\n}}'
        return
    yield f"TCP_CHECK {{\n{times}\n}}"
    if one.twice:
        second = port(number, "a2")
        yield f"TCP_CHECK {{\nconnect_port {second}\n{times}\n}}"


def configuration(index: int, folder: Path, cases: Iterable[Case] = CASES) -> str:
    """Return the whole configuration at a step."""
    head = f"global_defs {{\nlvs_notify_fifo {folder}/fifo root\n}}\n"
    return head + "".join(block(number, case, index, folder) for number, case in enumerate(cases))


def outcome(table: Mapping[str, str], told: Iterable[str]) -> str:
    """Return a table, from names to what follows them, and what was told, as one text."""
    members = " ".join(f"{name}{table[name]}" for name in "abcS" if name in table)
    # Servers first: between them the order is that of probes.
    news = sorted(told, key=lambda word: (word[1:] == "VS", word[1:]))
    return " ".join([members, *news]) if news else members


def member(weight: int, upper: int = 0, lower: int = 0) -> str:
    """Return what follows the name of a server in a table."""
    limits = f"({lower}-{upper})" if upper or lower else ""
    return ("" if weight == 1 else f":{weight}") + limits
