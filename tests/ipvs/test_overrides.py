"""Orders of operators: what holds, what ends by itself, and when a drain is over."""

import pytest

from lvskeeper.ipvs.overrides import (
    LOOKS,
    NO_ORDERS,
    ORPHAN_LIFE,
    Book,
    Drained,
    Ended,
    Kind,
    Left,
    Order,
    Orders,
    Service,
    Subject,
)
from lvskeeper.ipvs.types import DestKey
from lvskeeper.units import Address

A, B = (DestKey(Address(bytes((192, 0, 2, host))), 80) for host in (1, 2))
VS = "tcp 192.0.2.10:80"
DRAIN = Order(Kind.DRAIN, 0.0)
TCP = Service()


def book(*orders: tuple[Subject, Order]) -> Book:
    return Book(dict(orders))


def look(it: Book, left: Left, service: Service = TCP, now: float = 1.0) -> list[object]:
    return [*it.on_left(VS, service, {A: left}, now)]


def test_without_orders_nothing_holds() -> None:
    assert book().orders_of(VS, [A, B]) is NO_ORDERS
    assert book((Subject("other", A), DRAIN)).orders_of(VS, [A, B]) is NO_ORDERS


@pytest.mark.parametrize(
    ("orders", "weights"),
    [
        ({Subject(VS, A): DRAIN}, {A: 0}),
        ({Subject(VS, A): Order(Kind.WEIGHT, 0.0, 5)}, {A: 5}),
        ({Subject(VS): Order(Kind.DISABLE, 0.0)}, {A: 0, B: 0}),
        ({Subject(VS): Order(Kind.DISABLE, 0.0), Subject(VS, A): Order(Kind.WEIGHT, 0.0, 5)},
         {A: 0, B: 0}),
    ],
)  # fmt: skip
def test_what_holds(orders: dict[Subject, Order], weights: dict[DestKey, int]) -> None:
    assert Book(orders).orders_of(VS, [A, B]) == Orders(weights, set())


def test_a_drain_is_over_when_two_looks_in_a_row_find_nothing() -> None:
    it = book((Subject(VS, A), DRAIN))
    assert look(it, Left(2)) == []
    assert look(it, Left(0)) == []
    assert look(it, Left(1)) == []
    for _ in range(LOOKS - 1):
        assert look(it, Left(0)) == []
    assert look(it, Left(0)) == [Drained(VS, A, DRAIN, Left(0), overdue=False)]
    assert it.orders_of(VS, [A, B]) == Orders({A: 0}, {A})
    assert look(it, Left(0)) == []
    assert it.lift(Subject(VS, A)) is not None
    assert it.orders_of(VS, [A, B]) is NO_ORDERS


def test_a_drain_is_over_at_its_deadline_whatever_is_left() -> None:
    order = Order(Kind.DRAIN, 0.0, deadline=10.0)
    it = book((Subject(VS, A), order))
    assert look(it, Left(3), now=9.9) == []
    assert look(it, Left(3), now=10.0) == [Drained(VS, A, order, Left(3), overdue=True)]
    assert it.left(VS, A) == Left(3)


def test_templates_hold_a_drain_up_only_where_they_lead_to_servers_of_weight_0() -> None:
    holding = Service(persistent=True, templates_hold=True)
    passing = Service(persistent=True)
    it = book((Subject(VS, A), DRAIN))
    for _ in range(3):
        assert look(it, Left(0, 1), holding) == []
    assert "expire_quiescent_template is 0" in holding.note(Left(0, 1))
    assert passing.note(Left(0, 1)) == ""
    assert look(it, Left(0, 1), passing) == []
    assert len(look(it, Left(0, 1), passing)) == 1


def test_flows_of_udp_are_not_waited_for_where_the_kernel_moves_them() -> None:
    it = book((Subject(VS, A), DRAIN))
    assert look(it, Left(7), Service(moves=True)) == [Drained(VS, A, DRAIN, Left(7), overdue=False)]


def test_flows_of_udp_that_the_kernel_leaves_to_a_server_are_told() -> None:
    sticky = Service(sticks=True)
    assert "expire_nodest_conn is 0" in sticky.note(Left(1))
    assert sticky.note(Left(0)) == ""


def test_an_order_ends_when_its_time_is_over() -> None:
    order = Order(Kind.WEIGHT, 0.0, 5, until=60.0)
    it = book((Subject(VS, A), order), (Subject(VS, B), DRAIN))
    assert it.on_time(59.0) == []
    assert it.on_time(60.0) == [Ended(Subject(VS, A), order, expired=True)]
    assert list(it.entries) == [Subject(VS, B)]


def test_an_order_waits_for_a_subject_that_left_and_forgets_it_in_the_end() -> None:
    it = book((Subject(VS, A), DRAIN))
    assert it.follow({VS: {A, B}}, 5.0) == []
    assert it.follow({VS: {B}}, 10.0) == [Subject(VS, A)]
    assert it.follow({VS: {B}}, 11.0) == []
    assert it.follow({VS: {A}}, 12.0) == []
    assert it.on_time(12.0 + ORPHAN_LIFE) == []
    assert it.follow({}, 20.0) == [Subject(VS, A)]
    (ended,) = it.on_time(20.0 + ORPHAN_LIFE)
    assert isinstance(ended, Ended)
    assert not ended.expired


def test_a_virtual_server_out_of_use_drains_each_of_its_servers() -> None:
    it = book((Subject(VS), Order(Kind.DISABLE, 0.0)))
    assert it.draining(VS, [A, B]) == [A, B]
    for _ in range(LOOKS):
        it.on_left(VS, TCP, {A: Left(0), B: Left(1)}, 1.0)
    assert it.draining(VS, [A, B]) == [B]
    assert it.orders_of(VS, [A, B]) == Orders({A: 0, B: 0}, {A})


def test_a_second_drain_of_a_drained_server_does_not_bring_it_back() -> None:
    it = book((Subject(VS, A), DRAIN))
    for _ in range(LOOKS):
        look(it, Left(0))
    it.give(Subject(VS, A), Order(Kind.DRAIN, 5.0, until=99.0))
    assert it.orders_of(VS, [A]).gone == {A}
    it.give(Subject(VS, A), Order(Kind.WEIGHT, 6.0, 1))
    assert it.orders_of(VS, [A]) == Orders({A: 1}, set())


def test_a_drain_that_follows_another_order_looks_twice_again() -> None:
    it = book((Subject(VS, A), DRAIN))
    for _ in range(LOOKS):
        look(it, Left(0))
    it.give(Subject(VS, A), Order(Kind.WEIGHT, 6.0, 1))
    assert it.left(VS, A) is None
    it.give(Subject(VS, A), DRAIN)
    assert look(it, Left(0)) == []
    assert len(look(it, Left(0))) == 1
