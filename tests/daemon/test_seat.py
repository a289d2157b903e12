"""What an instance remembers from packet to packet."""

from lvskeeper.daemon.router_spec import InstanceConfig
from lvskeeper.daemon.seat import Seat
from lvskeeper.daemon.vrrp_log import event_of
from lvskeeper.observe.events import Event
from lvskeeper.observe.vrrp_events import VrrpLowerHeard, VrrpLowerUntold
from lvskeeper.units import NO_ADDRESS, parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.auth import Authentication, AuthKind
from lvskeeper.vrrp.packet import GROUP4
from lvskeeper.vrrp.record import MAX_COMPLAINTS
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import Cause, State
from lvskeeper.vrrp.types import InstanceKey
from lvskeeper.vrrp.validate import (
    Accepted,
    Received,
    Reject,
    RejectKind,
    Rules,
    received_ipv4,
)

VIP = parse_address("192.0.2.100")


def signer(source: str) -> Seat:
    spec = InstanceSpec(InstanceKey("eth0", 4, 51), "signed", version=2, addresses=(VIP,))
    seat = Seat(
        InstanceConfig(
            spec,
            Rules(
                version=2, vrid=51, interval=1.0, addresses=(VIP,),
                auth=Authentication(AuthKind.AH, b"s3cret"),
            ),
        )
    )  # fmt: skip
    seat.source = parse_address(source)
    return seat


def sent(seat: Seat) -> Received:
    ((destination, packet),) = seat.messages(100, 0.0)
    assert destination == GROUP4
    received = received_ipv4(packet)
    assert isinstance(received, Received)
    return received


def test_signed_adverts_that_cross_have_the_same_number_and_count_both() -> None:
    one, other = signer("192.0.2.1"), signer("192.0.2.2")
    for _ in range(3):
        here, there = sent(one), sent(other)
        assert isinstance(one.judge(there, NO_ADDRESS, 0.0), Accepted)
        assert isinstance(other.judge(here, NO_ADDRESS, 0.0), Accepted)
    assert one.sequence == other.sequence == 3


def test_a_signed_advert_counts_once_and_the_next_of_ours_goes_on_from_it() -> None:
    one, other = signer("192.0.2.1"), signer("192.0.2.2")
    packets = [sent(one) for _ in range(5)]
    assert isinstance(other.judge(packets[4], NO_ADDRESS, 0.0), Accepted)
    for packet in packets:
        verdict = other.judge(packet, NO_ADDRESS, 0.0)
        assert isinstance(verdict, Reject)
        assert verdict.kind is RejectKind.REPLAY
    answer = sent(other)
    assert answer.auth_header is not None
    assert answer.auth_header.sequence == 6


def test_of_weaker_masters_so_many_are_told_and_then_that_further_ones_are_not() -> None:
    seat = signer("192.0.2.1")
    forged = [parse_address(f"198.51.100.{last}") for last in range(2 * MAX_COMPLAINTS)]

    def tell() -> list[Event | None]:
        heard = (fx.LowerHeard(seat.key, source, 50) for source in forged)
        return [event_of(effect, seat, State.MASTER, 1.0) for effect in heard]

    told = tell()
    kinds = [VrrpLowerHeard] * (MAX_COMPLAINTS - 1) + [VrrpLowerUntold]
    assert [*map(type, told[:MAX_COMPLAINTS])] == kinds
    assert told[MAX_COMPLAINTS:] == [None] * MAX_COMPLAINTS
    assert len(seat.insisted) == MAX_COMPLAINTS

    seat.transition(fx.StateChanged(seat.key, State.MASTER, State.BACKUP, Cause.STALLED, 100))
    assert tell() == told
