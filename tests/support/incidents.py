"""A director and a router in memory, with real machines in both: what they show is no invention.

Nothing is sent or asked; results and adverts are given, and the clock is a number.
"""

from dataclasses import dataclass, field

import msgspec
from support.memfiles import MemoryFiles

from lvskeeper.config.load import load
from lvskeeper.daemon.announce import Announcer
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.desired import make_pool
from lvskeeper.daemon.director_view import view_director
from lvskeeper.daemon.router_view import view_router
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.virtuals import Virtual
from lvskeeper.daemon.vrrp_log import event_of
from lvskeeper.daemon.vrrp_shell import Duties, Shell
from lvskeeper.fullnat.capacity import Snapshot as Capacity
from lvskeeper.health.spec import Phase, ProbeResult
from lvskeeper.health.tally import ProbeTally
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe.diary import Diary, ToldEvent
from lvskeeper.observe.events import Event
from lvskeeper.observe.log import LEVEL_NAMES, event_fields
from lvskeeper.observe.snapshot import DaemonView, Problem, RoleView, Snapshot
from lvskeeper.observe.views import StateSyncView
from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp import events as ev
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.tracking import Status, TrackId, TrackKind
from lvskeeper.vrrp.types import Advert

START = 1000.0

SITE = """\
vrrp_script chk {
  script "/usr/local/bin/chk"
  weight -60
}
vrrp_instance one {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 150
  version 3
  advert_int 1
  virtual_ipaddress {
    192.0.2.100
    192.0.2.101
  }
  track_script {
    chk
  }
}
virtual_server 192.0.2.100 80 {
  protocol TCP
  lb_algo wrr
  lb_kind FNAT
  laddr_group_name pool
  quorum 2
  hysteresis 1
  sorry_server 198.51.100.9 8080
  real_server 198.51.100.1 8080 {
    weight 2
    TCP_CHECK {
      retry 2
    }
  }
  real_server 198.51.100.2 8080 {
    weight 1
    HTTP_GET {
      url {
        path /
        status_code 200
      }
    }
  }
}
local_address_group pool {
  198.51.100.11-13
}
"""


class Nobody(Duties):
    """Asked for nothing that leaves this process."""

    def hold(self, seat: Seat) -> None: ...

    def release(self, seat: Seat) -> None: ...

    def on_state(self, seat: Seat, change: fx.StateChanged) -> None: ...

    def on_group(self, change: fx.GroupChanged) -> None: ...

    def on_effect(self, seat: Seat, effect: fx.Effect) -> None: ...

    def on_tick(self, now: float) -> None: ...


@dataclass
class Incident:
    """Has to be made in a running loop, which it does not use."""

    text: str = SITE
    now: float = START
    diary: Diary = field(default_factory=Diary)
    problems: tuple[Problem, ...] = ()
    capacity: Capacity = field(default_factory=Capacity)
    state_sync: StateSyncView | None = None

    def __post_init__(self) -> None:
        loaded = load("site.conf", MemoryFiles({"site.conf": self.text}))
        assert loaded.config is not None, loaded.errors
        spec = compile_director(loaded.config)
        self.virtuals = [Virtual(item, make_pool(item, self.now)) for item in spec.virtual_servers]
        for virtual in self.virtuals:
            virtual.pool.start()
        self.tally = ProbeTally()
        self.announcer = Announcer(self.tell, lambda _mail: None)
        self.shell = Shell(self.tell, Nobody(), away=lambda: 0.0)
        router = compile_router(loaded.config)
        configs = router.instances if router else ()
        self.source = parse_address("192.0.2.2")
        self.shell.seats = {config.spec.key: Seat(config) for config in configs}
        specs = [seat.config.spec for seat in self.shell.seats.values()]
        self.shell._core = Router(specs, [g.spec for g in router.groups] if router else ())
        self.apply(self.shell.core.on_all(ev.SourceChanged(self.source), self.now))
        self.apply(self.shell.core.start(self.now))

    def tell(self, event: Event) -> None:
        """Note an event with its time, as the diary of the daemon does."""
        fields = msgspec.Raw(msgspec.json.encode(event_fields(event)))
        level = LEVEL_NAMES[event.LEVEL]
        moment = 1.8e9 + self.now - START
        self.diary.note("", ToldEvent(moment, self.now, level, event.NAME, fields))

    def apply(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, fx.GroupChanged):
                seat = self.shell.seats[effect.key]
                event = event_of(effect, seat, self.shell.state(effect.key), self.now)
                if event is not None:
                    self.tell(event)
            match effect:
                case fx.StateChanged(key):
                    self.shell.seats[key].transition(effect)
                case fx.Announce(key, occasion):
                    seat = self.shell.seats[key]
                    announce = seat.config.spec.announce
                    self.shell.planner.announce(key, announce, seat.places, occasion, self.now)
                case fx.SendAdvert(key):
                    self.shell.seats[key].counters.sent += 1
                case _:
                    pass

    def wait(self, seconds: float) -> None:
        """Let time pass; timers fire when they are due."""
        end = self.now + seconds
        core = self.shell.core
        while (due := core.deadline()) <= end:
            self.now = max(self.now, due)
            effects = core.on_timer(self.now)
            self.apply(effects)
            if any(isinstance(effect, fx.LookAgain) for effect in effects):
                self.apply(core.on_timer(self.now))
        self.shell.planner.on_timer(end)
        self.now = end

    def hear(self, priority: int, source: str = "192.0.2.3", name: str = "one") -> None:
        """Hear an advert for an instance."""
        seat = next(seat for seat in self.shell.seats.values() if seat.name == name)
        address = parse_address(source)
        advert = Advert(3, seat.key.vrid, priority, 1.0, seat.config.spec.addresses)
        seat.counters.received += 1
        self.apply(self.shell.core.on_advert(seat.key, advert, address, self.now))

    def script(self, name: str, *, well: bool) -> None:
        """Have the result of a tracked script."""
        track = TrackId(TrackKind.SCRIPT, name)
        self.apply(self.shell.core.on_status(track, Status(well), self.now))

    def happen(self, event: ev.Event, name: str = "one") -> None:
        """Let something happen to an instance."""
        key = next(seat.key for seat in self.shell.seats.values() if seat.name == name)
        self.apply(self.shell.core.on(key, event, self.now))

    def probe(self, server: str, phase: Phase, detail: str = "", took: float = 0.004) -> None:
        """Have a probe of each check of a real server that starts and ends now."""
        address, _, port = server.rpartition(":")
        key = DestKey(parse_address(address), int(port))
        result = ProbeResult(phase, detail, took)
        for virtual in self.virtuals:
            for check_id in [one for one in virtual.pool.checkers if one.key == key]:
                self.tally.note(check_id.target.kind, result)
                virtual.pool.on_start(check_id, self.now)
                effects = virtual.pool.on_result(check_id, result, self.now)
                self.announcer.tell(virtual.spec, effects)

    async def snapshot(self) -> Snapshot:
        """Return what the control socket would tell now."""
        director = await view_director(
            self.virtuals,
            self.now,
            capacity=self.capacity,
            state_sync=self.state_sync,
            tally=self.tally,
        )
        age = self.now - START
        roles = (
            RoleView("director", 4712, age + 1.0, 0.4),
            RoleView("router", 4713, age + 1.0, 0.2),
        )
        daemon = DaemonView(
            taken=self.now, time=1.8e9, version="1.0", pid=4711, age=age + 2.0,
            file="/etc/lvskeeper/lvskeeper.conf", generation=2, applied_age=age, unconfirmed=None,
            last_reload="", roles=roles,
        )  # fmt: skip
        made = Snapshot(daemon, director, view_router(self.shell, self.now), self.problems)
        # As it comes out of the socket
        return msgspec.json.decode(msgspec.json.encode(made), type=Snapshot)
