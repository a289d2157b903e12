from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.fake_ipvs import EST_DEFAULT, FakeIpvs
from support.ipvs_strategies import KEYS, tables

from lvskeeper.ipvs.desired import render_entry
from lvskeeper.ipvs.dialect import FORK_V2, FORK_V3, MAINLINE, Traits
from lvskeeper.ipvs.diff import diff
from lvskeeper.ipvs.operation import (
    AddDest,
    AddLocal,
    AddService,
    DelDest,
    DelLocal,
    DelService,
    Impact,
    Operation,
    SetDest,
    SetService,
)
from lvskeeper.ipvs.types import (
    Destination,
    DestKey,
    Entry,
    Family,
    Forward,
    Protocol,
    Service,
    ServiceFlag,
    ServiceKey,
    Table,
    TunnelType,
)
from lvskeeper.units import parse_address

V3 = replace(FORK_V3, established_default=EST_DEFAULT)
DIALECTS = pytest.mark.parametrize("traits", [MAINLINE, FORK_V2, V3], ids=lambda t: t.dialect.value)
OWNED = st.frozensets(st.sampled_from(KEYS))

WEB = KEYS[0]


def usable(table: Table, key: ServiceKey) -> int:
    entry = table.get(key)
    return sum(each.weight > 0 for each in entry.destinations.values()) if entry else 0


def dest(address: str, weight: int = 1, forward: Forward = Forward.NAT) -> Destination:
    return Destination(DestKey(parse_address(address), 80), forward, weight)


def entry(*destinations: Destination, scheduler: str = "wlc", pool: tuple[str, ...] = ()) -> Entry:
    return Entry(
        Service(WEB, scheduler),
        {each.key: each for each in destinations},
        frozenset(parse_address(each) for each in pool),
    )


@DIALECTS
@given(data=st.data())
def test_applying_a_diff_gives_the_desired_table(traits: Traits, data: st.DataObject) -> None:
    desired, actual = data.draw(tables(traits)), data.draw(tables(traits))
    owned = data.draw(OWNED)
    kernel = FakeIpvs(traits)
    kernel.load(actual)

    assert kernel.apply(diff(desired, actual, owned)) == []

    foreign = {key: held for key, held in actual.items() if key not in desired.keys() | owned}
    assert kernel.table == desired | foreign


@DIALECTS
@given(data=st.data())
def test_a_second_diff_is_empty(traits: Traits, data: st.DataObject) -> None:
    desired, actual = data.draw(tables(traits)), data.draw(tables(traits))
    owned = data.draw(OWNED)
    kernel = FakeIpvs(traits)
    kernel.load(actual)
    kernel.apply(diff(desired, actual, owned))

    assert diff(desired, kernel.table, owned) == []


@DIALECTS
@given(data=st.data())
def test_what_is_not_ours_is_not_touched(traits: Traits, data: st.DataObject) -> None:
    desired, actual = data.draw(tables(traits)), data.draw(tables(traits))
    owned = data.draw(OWNED)

    touched = {operation.service for operation in diff(desired, actual, owned)}

    assert touched <= desired.keys() | owned


@DIALECTS
@given(data=st.data())
def test_servers_never_fall_below_both_ends(traits: Traits, data: st.DataObject) -> None:
    desired, actual = data.draw(tables(traits)), data.draw(tables(traits))
    lasting = desired.keys() & actual.keys()
    floors = {key: min(usable(desired, key), usable(actual, key)) for key in lasting}
    kernel = FakeIpvs(traits)
    kernel.load(actual)

    for operation in diff(desired, actual, frozenset()):
        kernel.apply([operation])
        for key, floor in floors.items():
            assert usable(kernel.table, key) >= floor
            before, after = actual[key].local_addresses, desired[key].local_addresses
            if before and after:
                assert kernel.table[key].local_addresses


@DIALECTS
@given(data=st.data())
def test_what_did_not_change_gets_no_operation(traits: Traits, data: st.DataObject) -> None:
    desired, actual = data.draw(tables(traits)), data.draw(tables(traits))

    for operation in diff(desired, actual, frozenset(KEYS)):
        assert changes(operation, desired, actual)


def changes(  # noqa: PLR0911 - one a kind of operation
    operation: Operation, desired: Table, actual: Table
) -> bool:
    old, new = actual.get(operation.service), desired.get(operation.service)
    match operation:
        case AddService():
            return old is None and new is not None
        case DelService():
            return old is not None and new is None
        case SetService(wanted=wanted):
            return old is not None and old.service != wanted
        case AddDest(destination=each):
            return old is None or each.key not in old.destinations
        case SetDest(destination=each):
            return old is not None and old.destinations[each.key] != each
        case DelDest(destination=each):
            return new is not None and each.key not in new.destinations
        case AddLocal(address=address):
            return old is None or address not in old.local_addresses
        case DelLocal(address=address):
            return new is not None and address not in new.local_addresses


@given(data=st.data())
def test_order_within_a_service(data: st.DataObject) -> None:
    rank: dict[type[Operation], int] = {
        AddService: 0, SetService: 0, AddLocal: 1, AddDest: 2, SetDest: 3, DelDest: 4, DelLocal: 5,
    }  # fmt: skip
    desired, actual = data.draw(tables(FORK_V2)), data.draw(tables(FORK_V2))
    operations = diff(desired, actual, frozenset())
    late = [each for each in operations if isinstance(each, SetService) and each.reschedules]
    assert operations[len(operations) - len(late) :] == late

    for key in desired:
        order = [
            rank[type(each)] for each in operations if each.service == key and each not in late
        ]
        assert order == sorted(order)


def test_weights_rise_before_they_fall() -> None:
    desired = {WEB: entry(dest("198.51.100.1", 0), dest("198.51.100.2", 5))}
    actual = {WEB: entry(dest("198.51.100.1", 5), dest("198.51.100.2", 0))}

    assert [str(each) for each in diff(desired, actual, frozenset())] == [
        "set weight 0 -> 5 of 198.51.100.2:80 in tcp 192.0.2.1:80",
        "set weight 5 -> 0 of 198.51.100.1:80 in tcp 192.0.2.1:80",
    ]


def test_schedulers_change_after_everything_else() -> None:
    other = KEYS[1]
    desired = {
        WEB: entry(dest("198.51.100.1"), scheduler="rr"),
        other: Entry(Service(other, "rr")),
    }

    found = diff(desired, {WEB: entry()}, frozenset({KEYS[2]}))

    assert [str(each) for each in found] == [
        "add destination 198.51.100.1:80 to tcp 192.0.2.1:80 (nat, weight 1)",
        "add service tcp 192.0.2.1:443 (rr)",
        "set service tcp 192.0.2.1:80: scheduler wlc -> rr",
    ]


def test_local_addresses_are_replaced_by_adding_first() -> None:
    desired = {WEB: entry(dest("198.51.100.1", forward=Forward.FULLNAT), pool=("203.0.113.2",))}
    actual = {WEB: entry(pool=("203.0.113.1",))}

    assert [str(each) for each in diff(desired, actual, frozenset())] == [
        "add local address 203.0.113.2 to tcp 192.0.2.1:80",
        "add destination 198.51.100.1:80 to tcp 192.0.2.1:80 (fullnat, weight 1)",
        "delete local address 203.0.113.1 of tcp 192.0.2.1:80",
    ]


def test_a_server_that_the_kernel_marks_local_is_left_alone() -> None:
    desired = {WEB: entry(dest("198.51.100.1", 2, Forward.FULLNAT), pool=("203.0.113.1",))}
    kernel = FakeIpvs(FORK_V3, own=frozenset({parse_address("198.51.100.1")}))
    kernel.apply(diff(desired, {}, frozenset()))

    held = kernel.table[WEB].destinations[DestKey(parse_address("198.51.100.1"), 80)]
    assert held.forward is Forward.LOCAL
    rendered = {WEB: render_entry(desired[WEB], V3)}
    assert diff(rendered, kernel.table, frozenset()) == []
    heavier = {WEB: entry(dest("198.51.100.1", 3, Forward.FULLNAT), pool=("203.0.113.1",))}
    heavier[WEB] = render_entry(heavier[WEB], V3)
    assert [type(each) for each in diff(heavier, kernel.table, frozenset())] == [SetDest]


def test_only_owned_services_are_deleted() -> None:
    actual = {key: Entry(Service(key, "rr", prefix=key.family.host_prefix)) for key in KEYS}

    assert diff({}, actual, {WEB}) == [DelService(WEB)]
    assert diff({}, {}, {WEB}) == []


SERVER = dest("198.51.100.1")
LIP = parse_address("203.0.113.1")
MAIL = ServiceKey(Family.INET6, Protocol.TCP, parse_address("2001:db8::1"), 25)


def tunnel(kind: TunnelType, port: int = 0, flags: int = 0) -> Destination:
    return Destination(
        SERVER.key, Forward.TUN, tunnel_type=kind, tunnel_port=port, tunnel_flags=flags
    )


NEW, BREAKS = Impact.NEW_FLOWS, Impact.BREAKS_FLOWS
AT = "198.51.100.1:80"
ON = "tcp 192.0.2.1:80"
WORDS: list[tuple[Operation, Impact, str]] = [
    (AddService(Service(MAIL, "wlc")), NEW, "add service tcp [2001:db8::1]:25 (wlc)"),
    (DelService(KEYS[4]), BREAKS, "delete service fwmark 7"),
    (DelService(KEYS[5]), BREAKS, "delete service fwmark 7 inet6"),
    (AddLocal(WEB, LIP), NEW, f"add local address 203.0.113.1 to {ON}"),
    (DelLocal(WEB, LIP), NEW, f"delete local address 203.0.113.1 of {ON}"),
    (DelDest(WEB, SERVER), BREAKS, f"delete destination {AT} of {ON}"),
    (
        SetDest(WEB, SERVER._replace(upper=9, lower=1), SERVER),
        NEW,
        f"set upper threshold 0 -> 9, lower threshold 0 -> 1 of {AT} in {ON}",
    ),
    (
        AddDest(WEB, tunnel(TunnelType.GUE, 6080, 1)._replace(upper=9)),
        NEW,
        f"add destination {AT} to {ON} (tun, gue:6080+0x1, weight 1, thresholds 0..9)",
    ),
    (
        SetDest(WEB, tunnel(TunnelType.GRE), tunnel(TunnelType.IPIP)),
        BREAKS,
        f"set tunnel ipip -> gre of {AT} in {ON}",
    ),
    (
        SetDest(WEB, SERVER._replace(forward=Forward.DR), SERVER),
        NEW,
        f"set method nat -> dr of {AT} in {ON}",
    ),
    (
        SetService(
            Service(WEB, "mh", ServiceFlag.PERSISTENT, 300, 24),
            Service(WEB, "mh"),
        ),
        NEW,
        f"set service {ON}: flags none -> persistent, persistence 0 -> 300, granularity /32 -> /24",
    ),
]


@pytest.mark.parametrize(("operation", "impact", "text"), WORDS)
def test_operations_in_words(operation: Operation, impact: Impact, text: str) -> None:
    assert str(operation) == text
    assert operation.impact is impact


@given(data=st.data())
def test_every_generated_diff_can_be_told(data: st.DataObject) -> None:
    operations = diff(data.draw(tables(V3)), data.draw(tables(V3)), frozenset(KEYS))
    assume(operations)

    for operation in operations:
        assert str(operation.service) in str(operation)
        assert "\n" not in str(operation)
        assert not str(operation).endswith((":", ": ", "()"))
