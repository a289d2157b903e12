"""A model of a configuration that changes by chance, and of the kernel's table that follows."""

from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

SIDE: Final = 20
"""Virtual servers beside the one that is asked, of which some come and go."""
SCHEDULERS: Final = ("rr", "wrr", "lc", "wlc", "sh")

Weights: TypeAlias = dict[str, int]
Table: TypeAlias = dict[str, tuple[str, int, Weights]]
"""Scheduler, persistence and weights by service."""


@dataclass(frozen=True)
class Place:
    """Where the model lives."""

    vip: str
    side_vip: str
    servers: tuple[tuple[str, int], ...]
    """Address and port of the real servers, which are called 0, 1, 2."""
    device: str = ""
    """Device of LIPs; none means NAT."""


@dataclass
class Virtual:
    """A virtual server of the model."""

    weights: dict[int, int]
    scheduler: str = "wrr"
    persistence: int = 0
    lips: int = 0
    delay: int = 5

    def text(self, place: Place, vip: str, port: int, *, check: bool) -> str:
        """Return it as keepalived.conf has it."""
        probe = "    TCP_CHECK {\n    }\n" if check else ""
        servers = "".join(
            f"  real_server {' '.join(map(str, place.servers[number]))} {{\n"
            f"    weight {weight}\n{probe}  }}\n"
            for number, weight in sorted(self.weights.items())
        )
        kind = f"FNAT\n  laddr_group_name lips{self.lips}" if place.device else "NAT"
        held = f"  persistence_timeout {self.persistence}\n" if self.persistence else ""
        return (
            f"virtual_server {vip} {port} {{\n  lb_algo {self.scheduler}\n  lb_kind {kind}\n"
            f"  protocol TCP\n  delay_loop {self.delay}\n{held}{servers}}}\n"
        )


@dataclass
class Model:
    """The configuration, and what operators ordered."""

    place: Place
    dice: Random
    asked: Virtual = field(init=False)
    """The virtual server that clients ask; its servers stay."""
    side: dict[int, Virtual] = field(default_factory=dict)
    drained: set[int] = field(default_factory=set)
    """Servers of the one that is asked which a drain took out of the table."""
    ordered: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked = Virtual(dict.fromkeys(range(len(self.place.servers)), 1), delay=2)
        for number in range(0, SIDE, 2):
            self.side[number] = Virtual(self._some())

    def text(self) -> str:
        """Return the file."""
        place = self.place
        pools = "".join(
            f"local_address_group lips{n} {{\n  10.0.0.{10 + 4 * n}-{13 + 4 * n} {place.device}\n"
            "}\n"
            for n in range(2 if place.device else 0)
        )
        asked = self.asked.text(place, place.vip, 80, check=True)
        side = [
            one.text(place, place.side_vip, 1000 + n, check=False)
            for n, one in sorted(self.side.items())
        ]
        return "".join((pools, asked, *side))

    def table(self) -> Table:
        """Return the table that the kernel is to have."""
        found = {
            f"{self.place.side_vip}:{1000 + n}": self._row(one, one.weights)
            for n, one in self.side.items()
        }
        weights = {
            number: self.ordered.get(number, weight)
            for number, weight in self.asked.weights.items()
            if number not in self.drained
        }
        found[f"{self.place.vip}:80"] = self._row(self.asked, weights)
        return found

    def server(self, number: int) -> str:
        """Return the name of a real server."""
        address, port = self.place.servers[number]
        return f"{address}:{port}"

    def change(self) -> None:
        """Change one thing; connections of the virtual server that is asked have to outlive it."""
        dice = self.dice
        if dice.random() < 0.3:
            if dice.random() < 0.2:
                self.asked.lips = dice.randrange(2)
            else:
                self._vary(self.asked, 4)
            return
        number = dice.randrange(SIDE)
        one = self.side.get(number)
        if one is None:
            self.side[number] = Virtual(self._some())
            return
        match dice.randrange(6):
            case 0 if len(self.side) > SIDE // 3:
                del self.side[number]
            case 1:
                one.weights = self._some()
            case 2:
                one.persistence = dice.choice((0, 60, 300))
            case 3:
                one.lips = dice.randrange(2)
            case _:
                self._vary(one, 5)

    def _row(self, one: Virtual, weights: dict[int, int]) -> tuple[str, int, Weights]:
        named = {self.server(number): weight for number, weight in weights.items()}
        return one.scheduler, one.persistence, named

    def _vary(self, one: Virtual, schedulers: int) -> None:
        match self.dice.randrange(3):
            case 0:
                one.scheduler = self.dice.choice(SCHEDULERS[:schedulers])
            case 1:
                one.delay = self.dice.randint(1, 9)
            case _:
                number = self.dice.choice(sorted(one.weights))
                one.weights[number] = self.dice.randint(1, 9)

    def _some(self) -> dict[int, int]:
        everyone = range(len(self.place.servers))
        numbers = self.dice.sample(everyone, self.dice.randint(1, len(everyone)))
        return {number: self.dice.randint(0, 9) for number in sorted(numbers)}
