import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.ipvs.placement import cpu_of, uncovered
from lvskeeper.units import Address, parse_address


def lips(*last: int) -> list[Address]:
    return [Address(bytes((203, 0, 113, each))) for each in last]


@pytest.mark.parametrize(
    ("address", "online", "reserved", "cpu"),
    [
        ("203.0.113.1", 4, 0, 1),
        ("203.0.113.8", 4, 0, 0),
        ("203.0.113.255", 16, 0, 15),
        ("203.0.113.7", 8, 2, 2 + 1),
        ("2001:db8::1:201", 4, 1, 1 + 1),
        ("203.0.113.9", 1, 0, 0),
    ],
)
def test_the_last_byte_names_the_cpu(address: str, online: int, reserved: int, cpu: int) -> None:
    assert cpu_of(parse_address(address), online, reserved) == cpu


def test_cpus_without_a_lip_are_named() -> None:
    assert uncovered(lips(1, 5, 9), 4) == (0, 2, 3)
    assert uncovered(lips(1, 2), 4, reserved=2) == ()
    assert uncovered(lips(4, 2), 4, reserved=2) == (3,)
    assert uncovered([], 3) == (0, 1, 2)


def test_a_kernel_without_cpus_for_data_has_none_to_cover() -> None:
    assert uncovered(lips(1), 2, reserved=2) == ()
    with pytest.raises(ValueError, match="2 of 2 CPUs reserved"):
        cpu_of(lips(1)[0], 2, 2)


@given(st.integers(1, 64), st.integers(0, 6), st.integers(0, 127))
def test_as_many_in_a_row_as_data_cpus_cover_all(online: int, reserved: int, first: int) -> None:
    row = lips(*range(first, first + max(online - reserved, 0)))

    assert uncovered(row, online, reserved) == ()


@given(st.integers(1, 64), st.integers(0, 6), st.lists(st.integers(0, 255)))
def test_every_data_cpu_is_covered_or_named(online: int, reserved: int, last: list[int]) -> None:
    missing = uncovered(lips(*last), online, reserved)
    if reserved < online:
        covered = {cpu_of(each, online, reserved) for each in lips(*last)}
        assert covered | set(missing) == set(range(reserved, online))
        assert covered.isdisjoint(missing)
