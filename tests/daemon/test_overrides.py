"""Drains and other overrides in a director: in the table, over reloads and restarts, to their end.

The IPVS table is one in memory, whose connections a test sets.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from support.director_site import PORTS, Site, configuration, listening, site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run

from lvskeeper.daemon.override_file import OverrideFile
from lvskeeper.daemon.questions import ListOverrides, Override, TakeSnapshot
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.ipvs.types import DestKey, Protocol, ServiceFlag
from lvskeeper.kernel.conntrack import ConntrackClient
from lvskeeper.observe.views import DirectorView, OverridesView
from lvskeeper.units import parse_address

pytestmark = [pytest.mark.root, pytest.mark.asyncio]

FILE = configuration(*PORTS)
VS = "tcp 198.51.100.1:80"
LOCAL = parse_address("127.0.0.1")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvskeeper.daemon.estate.OVERRIDE_INTERVAL", 0.3)


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    with empty_namespace():
        run("ip link set lo up")
        yield


@pytest.fixture
def kernel() -> FakeIpvs:
    return FakeIpvs(MAINLINE)


@pytest_asyncio.fixture
async def here(kernel: FakeIpvs, tmp_path: Path) -> AsyncIterator[Site]:
    async with listening(*PORTS), site(kernel, tmp_path) as made:
        await made.applied(FILE)
        yield made


async def order(
    here: Site, action: str, port: int | None = None, **fields: object
) -> OverridesView:
    given = {"action": action, **fields} | ({"server": f"127.0.0.1:{port}"} if port else {})
    answer = await here.question(msgspec.convert(given, Override))
    assert answer.problem is None, answer.problem
    return msgspec.json.decode(answer.body, type=OverridesView)


async def listed(here: Site) -> OverridesView:
    return msgspec.json.decode((await here.question(ListOverrides())).body, type=OverridesView)


async def refused(here: Site, action: str, **fields: object) -> str:
    answer = await here.question(msgspec.convert({"action": action, **fields}, Override))
    assert answer.problem is not None
    return f"{answer.problem.code}: {answer.problem.message}"


def weights(here: Site) -> dict[int, int]:
    """Return the weight of each destination of the first service, by port."""
    entry = next(iter(here.kernel.table.values()))
    return {key.port: dest.weight for key, dest in sorted(entry.destinations.items())}


async def test_a_drained_server_has_weight_0_until_its_connections_are_gone(
    here: Site, kernel: FakeIpvs
) -> None:
    view = await order(here, "drain", 8091, reason="new disks")
    assert weights(here) == {8091: 0, 8092: 1, 8093: 1}
    assert [(one.virtual_server, one.real_server) for one in view.orders] == [
        (VS, "127.0.0.1:8091")
    ]
    kernel.active[DestKey(LOCAL, 8091)] = kernel.idle = 0
    await here.until(lambda: here.named("drain_ended"))
    assert weights(here) == {8092: 1, 8093: 1}
    seen = msgspec.json.decode((await here.question(TakeSnapshot())).body, type=DirectorView)
    override = seen.virtual_servers[0].servers[0].override
    assert override is not None
    assert (override.state, override.by, override.reason) == ("drained", "root", "new disks")
    assert seen.virtual_servers[0].servers[1].override is None
    await order(here, "undrain", 8091)
    assert weights(here) == {8091: 1, 8092: 1, 8093: 1}
    assert [event.NAME for event in here.events if "override" in event.NAME] == [
        "override_given",
        "override_ended",
    ]


async def test_a_hash_of_the_source_leads_nobody_to_a_server_that_drains(
    here: Site, kernel: FakeIpvs
) -> None:
    def flags() -> ServiceFlag:
        return next(iter(kernel.table.values())).service.flags

    await here.applied(FILE.replace("lb_algo rr", "lb_algo sh"))
    await order(here, "drain", 8091)
    assert (flags(), weights(here)[8091]) == (ServiceFlag.SCHED_1, 0)
    kernel.active[DestKey(LOCAL, 8091)] = kernel.idle = 0
    await here.until(lambda: here.named("drain_ended"))
    assert (flags(), weights(here)) == (ServiceFlag(0), {8092: 1, 8093: 1})
    await order(here, "weight", 8092, weight=0)
    assert flags() is ServiceFlag.SCHED_1
    await order(here, "undrain", 8092)
    assert flags() is ServiceFlag(0)


async def test_a_deadline_ends_a_drain_whatever_is_left(here: Site) -> None:
    await order(here, "drain", 8091, deadline_seconds=0.2)
    await here.until(lambda: here.named("drain_ended"))
    assert weights(here) == {8092: 1, 8093: 1}
    assert "connections=15" in str(here.named("drain_ended")[0])


async def test_no_drain_is_over_because_the_kernel_does_not_answer(
    here: Site, kernel: FakeIpvs
) -> None:
    await order(here, "drain", 8091)
    kernel.permitted = False
    await asyncio.sleep(1.2)
    kernel.permitted = True
    assert not here.named("drain_ended")
    kernel.active[DestKey(LOCAL, 8091)] = kernel.idle = 0
    await here.until(lambda: here.named("drain_ended"))


async def test_templates_of_persistence_hold_a_drain_up_and_are_told(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.overrides.read_number", lambda _: 0)
    kernel.idle = 0
    kernel.active[DestKey(LOCAL, 8091)] = 0
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS, extra="  persistence_timeout 60"))
        await order(here, "drain", 8091)
        await asyncio.sleep(2.5)
        assert not here.named("drain_ended")
        seen = msgspec.json.decode((await here.question(TakeSnapshot())).body, type=DirectorView)
        override = seen.virtual_servers[0].servers[0].override
        assert override is not None
        assert override.templates == 9
        assert "expire_quiescent_template is 0" in override.note
        kernel.templates = 0
        await here.until(lambda: here.named("drain_ended"))


async def test_udp_leaves_at_once_where_the_kernel_moves_its_flows(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.overrides.read_number", lambda _: 1)
    forgotten: list[str] = []

    def forget(_: ConntrackClient, *of: object) -> int:
        forgotten.append(" ".join(map(str, of)))
        return 4

    monkeypatch.setattr(ConntrackClient, "forget", forget)
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(FILE.replace("protocol TCP", "protocol UDP"))
        await order(here, "drain", 8091)
        await here.until(lambda: here.named("drain_ended"))
        assert weights(here) == {8092: 1, 8093: 1}
    told = str(here.named("drain_ended")[0])
    assert "UDP is not waited for" in told
    assert "flows=4" in told
    assert forgotten == [f"{Protocol.UDP} 198.51.100.1:80 127.0.0.1:8091"]


async def test_flows_are_forgotten_once_their_server_has_left_and_hold_no_reload_up(
    kernel: FakeIpvs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.daemon.overrides.read_number", lambda _: 1)
    left: list[set[int]] = []
    done = threading.Event()

    def forget(*_: object) -> int:
        left.append({key.port for one in kernel.table.values() for key in one.destinations})
        return done.wait(20)

    monkeypatch.setattr(ConntrackClient, "forget", forget)
    text = FILE.replace("protocol TCP", "protocol UDP")
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(text)
        await order(here, "drain", 8091)
        await here.until(lambda: left)
        async with asyncio.timeout(10):
            await here.applied(text.replace("lb_algo rr", "lb_algo wrr"))
        done.set()
        await here.until(lambda: here.named("drain_ended"))
    assert left == [{8092, 8093}]


async def test_a_weight_holds_until_its_time_is_over(here: Site) -> None:
    await order(here, "weight", 8092, weight=7, for_seconds=1.0)
    assert weights(here) == {8091: 1, 8092: 7, 8093: 1}
    await here.until(lambda: here.named("override_ended"))
    await here.until(lambda: weights(here) == {8091: 1, 8092: 1, 8093: 1})


async def test_overrides_hold_over_reload_kill_and_start(kernel: FakeIpvs, tmp_path: Path) -> None:
    async with listening(*PORTS):
        async with site(kernel, tmp_path) as first:
            await first.applied(FILE)
            await order(first, "drain", 8091)
            await order(first, "weight", 8092, weight=9)
            await first.applied(FILE.replace("lb_algo rr", "lb_algo wrr"))
            assert weights(first) == {8091: 0, 8092: 9, 8093: 1}
            await first.gone()
        assert weights(first) == {8091: 0, 8092: 9, 8093: 1}
        async with site(kernel, tmp_path) as second:
            assert (await second.applied(FILE.replace("lb_algo rr", "lb_algo wrr"))).operations == 0
            kernel.active[DestKey(LOCAL, 8091)] = kernel.idle = 0
            await second.until(lambda: second.named("drain_ended"))
            await second.gone()
        async with site(kernel, tmp_path) as third:
            assert (await third.applied(FILE.replace("lb_algo rr", "lb_algo wrr"))).operations == 0
            await asyncio.sleep(1.5)
            assert weights(third) == {8092: 9, 8093: 1}
            assert not third.named("real_server_up"), "it was never down"


async def test_a_server_that_leaves_the_file_for_a_while_comes_back_drained(here: Site) -> None:
    await order(here, "drain", 8091)
    await here.applied(configuration(*PORTS[1:]))
    assert here.named("override_orphaned")
    await here.applied(FILE)
    assert weights(here)[8091] == 0


async def test_a_disabled_virtual_server_drains_all_and_lets_the_sorry_server_serve(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS[:2], extra="  sorry_server 127.0.0.1 9999"))
        await order(here, "disable", virtual_servers=["198.51.100.1:80"])
        assert weights(here) == {8091: 0, 8092: 0, 9999: 1}
        assert here.named("quorum_lost")
        kernel.active = {DestKey(LOCAL, port): 0 for port in PORTS}
        kernel.idle = 0
        (given,) = (await listed(here)).orders
        assert (given.real_server, given.override.state) == ("", "draining")
        await here.until(lambda: weights(here) == {9999: 1})
        assert [one.override.state for one in (await listed(here)).orders] == ["drained"]
        await order(here, "enable", virtual_servers=["198.51.100.1:80"])
        assert weights(here) == {8091: 1, 8092: 1}


async def test_a_server_that_is_drained_twice_over_is_drained_for_both(
    here: Site, kernel: FakeIpvs
) -> None:
    kernel.active = {DestKey(LOCAL, port): 0 for port in PORTS}
    kernel.idle = 0
    await order(here, "drain", 8091)
    await here.until(lambda: here.named("drain_ended"))
    await order(here, "disable", virtual_servers=[VS])
    await here.until(lambda: weights(here) == {})
    assert [one.override.state for one in (await listed(here)).orders] == ["drained", "drained"]
    await order(here, "drain", 8092, force=True)
    assert [one.override.state for one in (await listed(here)).orders] == ["drained"] * 3


async def test_the_last_server_is_drained_by_force_only(here: Site) -> None:
    for port in PORTS[:2]:
        await order(here, "drain", port)
    assert await refused(here, "drain", server="127.0.0.1:8093") == (
        f"refused: {VS} would have no server left that takes new connections"
    )
    assert (await refused(here, "drain", server="127.0.0.1")).startswith("refused")
    assert weights(here)[8093] == 1
    await order(here, "drain", 8093, force=True)
    assert weights(here) == {8091: 0, 8092: 0, 8093: 0}


async def test_a_drain_that_takes_others_out_with_the_quorum_is_done_by_force_only(
    kernel: FakeIpvs, tmp_path: Path
) -> None:
    async with listening(*PORTS), site(kernel, tmp_path) as here:
        await here.applied(configuration(*PORTS, extra="  quorum 3\n  sorry_server 127.0.0.1 9999"))
        wanted = f"refused: {VS} would lose its quorum, and 2 servers that serve with it"
        assert await refused(here, "drain", server="127.0.0.1:8091") == wanted
        assert await refused(here, "weight", server="127.0.0.1:8091", weight=0) == wanted
        await order(here, "weight", 8091, weight=2)
        assert weights(here) == {8091: 2, 8092: 1, 8093: 1}
        await order(here, "drain", 8092)
        await order(here, "drain", 8091, force=True)
        assert weights(here) == {8091: 0, 8092: 0, 9999: 1}


@pytest.mark.parametrize(
    ("action", "fields", "problem"),
    [
        ("drain", {"server": "127.0.0.1:1"}, "not_found: 127.0.0.1:1 is not a real server of any"),
        ("drain", {"server": "nonsense"}, "bad_request: 'nonsense' is not ADDRESS"),
        ("drain", {"server": "127.0.0.1:"}, "bad_request: '127.0.0.1:' is not ADDRESS"),
        ("drain", {"server": "127.0.0.1:+8091"}, "bad_request: '127.0.0.1:+8091' is not ADDRESS"),
        ("drain", {"server": "127.0.0.1", "virtual_servers": ["x"]},
         "not_found: there is no virtual server x"),
        ("undrain", {"server": "127.0.0.1"}, "not_found: nothing is ordered for 127.0.0.1"),
        ("weight", {"server": "127.0.0.1", "weight": -1}, "bad_request: weight -1"),
        ("drain", {"server": "127.0.0.1", "for_seconds": -1}, "bad_request: -1 seconds"),
        ("disable", {}, "bad_request: disable needs the name"),
        ("disable", {"virtual_servers": [VS, "web"]}, "not_found: there is no virtual server web"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_told(
    here: Site, action: str, fields: dict[str, object], problem: str
) -> None:
    assert (await refused(here, action, **fields)).startswith(problem)
    assert weights(here) == {8091: 1, 8092: 1, 8093: 1}


async def test_who_is_out_of_use_with_another_stays_so_where_one_name_is_wrong(here: Site) -> None:
    await order(here, "disable", virtual_servers=[VS])
    wanted = "not_found: nothing is ordered for web"
    assert await refused(here, "enable", virtual_servers=[VS, "web"]) == wanted
    assert len((await listed(here)).orders) == 1


async def test_an_order_that_cannot_be_saved_is_refused_and_does_not_hold(
    here: Site, tmp_path: Path
) -> None:
    await order(here, "weight", 8092, weight=5)
    stays = tmp_path / "overrides.new"
    stays.mkdir()
    assert (await refused(here, "drain", server="127.0.0.1:8091")).startswith("internal: ")
    assert (await refused(here, "undrain", server="127.0.0.1:8092")).startswith("internal: ")
    assert [one.real_server for one in (await listed(here)).orders] == ["127.0.0.1:8092"]
    assert len(here.named("override_given")) == 1
    assert weights(here) == {8091: 1, 8092: 5, 8093: 1}
    stays.rmdir()
    await order(here, "undrain", 8092)
    assert OverrideFile(tmp_path).load().entries == {}


async def test_an_override_ends_in_time_even_where_that_cannot_be_saved(
    here: Site, tmp_path: Path
) -> None:
    await order(here, "weight", 8092, weight=7, for_seconds=0.5)
    stays = tmp_path / "overrides.new"
    stays.mkdir()
    await here.until(lambda: here.named("override_ended"))
    await here.until(lambda: weights(here) == {8091: 1, 8092: 1, 8093: 1})
    assert len(here.named("upkeep_failed")) == 1
    stays.rmdir()
    await here.until(lambda: not OverrideFile(tmp_path).load().entries)


async def test_more_orders_than_there_is_room_for_are_refused_as_a_whole(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvskeeper.ipvs.overrides.MAX_ORDERS", 1)
    told = await refused(here, "drain", server="127.0.0.1", force=True)
    assert told == "refused: there are 1 orders already"
    assert (await listed(here)).orders == ()
    assert here.named("override_given") == []


async def test_what_is_ordered_is_listed_and_saved_before_it_is_done(
    here: Site, tmp_path: Path
) -> None:
    await order(here, "drain", 8091, deadline_seconds=60, for_seconds=120)
    (one,) = (await listed(here)).orders
    assert one.override.state == "draining"
    assert one.override.deadline_in is not None
    assert 50 < one.override.deadline_in <= 60
    assert len(OverrideFile(tmp_path).load().entries) == 1
