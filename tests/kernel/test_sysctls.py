"""Sysctls: on a made-up tree for every outcome, and on this kernel's own."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.fullnat_net import empty_namespace

from lvskeeper.ipvs.types import Family
from lvskeeper.kernel.sysctls import (
    CONNTRACK_MINIMUM,
    Requirement,
    State,
    ensure,
    recommended_for_fullnat,
    required_for_fullnat,
    strict_filter,
)

BOTH = (Family.INET, Family.INET6)


def test_requirements_follow_the_families() -> None:
    names = [[r.name for r in required_for_fullnat(f)] for f in ((), BOTH[:1], BOTH[1:], BOTH)]
    conntrack = "net/ipv4/vs/conntrack"
    v4, v6 = "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"
    assert names == [[], [conntrack, v4], [conntrack, v6], [conntrack, v4, v6]]


def test_the_conntrack_table_is_wanted_as_large_as_the_pools_or_the_default() -> None:
    sizes = [recommended_for_fullnat(wanted)[-1].wanted for wanted in (1, 3 * CONNTRACK_MINIMUM)]
    assert sizes == [CONNTRACK_MINIMUM, 3 * CONNTRACK_MINIMUM]


@pytest.mark.parametrize(
    ("everywhere", "here", "strict"),
    [("0", "0", False), ("0", "1", True), ("1", "0", True), ("1", "2", False), ("2", "1", False)],
)
def test_the_greater_filter_counts(
    everywhere: str, here: str, strict: bool, tmp_path: Path
) -> None:
    for name, value in (("all", everywhere), ("back0", here)):
        folder = tmp_path / "net/ipv4/conf" / name
        folder.mkdir(parents=True)
        (folder / "rp_filter").write_text(f"{value}\n")

    assert strict_filter("back0", tmp_path) is strict


def test_a_device_that_is_not_there_is_not_strict(tmp_path: Path) -> None:
    assert not strict_filter("back0", tmp_path)


LOWER = Requirement("net/a", 5, "it breaks", at_least=True)
EXACT = Requirement("net/a", 5, "it breaks")


@pytest.mark.parametrize(
    ("requirement", "before", "allowed", "state", "text"),
    [
        (EXACT, "5", True, State.OK, "net.a is 5"),
        (EXACT, "4", True, State.SET, "net.a set to 5, was 4"),
        (LOWER, "9", True, State.OK, "net.a is 9"),
        (EXACT, "9", False, State.WRONG, "net.a is 9, not 5: it breaks"),
        (LOWER, None, True, State.MISSING, "net.a does not exist: it breaks"),
        (LOWER, "odd", False, State.WRONG, "net.a is odd, not 5: it breaks"),
    ],
)
def test_outcomes(
    requirement: Requirement, before: str | None, allowed: bool, state: State, text: str
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "net").mkdir()
        if before is not None:
            (root / "net/a").write_text(f"{before}\n", encoding="ascii")
        (finding,) = ensure([requirement], set_allowed=allowed, root=root)
        assert (finding.state, str(finding)) == (state, text)
        assert finding.ok == (state in {State.OK, State.SET})
        (again,) = ensure([requirement], set_allowed=False, root=root)
        assert again.ok == finding.ok


@pytest.mark.root
def test_forwarding_is_set_in_this_namespace_only() -> None:
    wanted = [r for r in required_for_fullnat(BOTH) if r.name.endswith("forward")]
    with empty_namespace():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0", encoding="ascii")
        assert [f.state for f in ensure(wanted, set_allowed=False)] == [State.WRONG]
        assert [f.state for f in ensure(wanted, set_allowed=True)] == [State.SET]
        assert [f.state for f in ensure(wanted, set_allowed=True)] == [State.OK]


@pytest.mark.root
def test_what_a_namespace_may_not_set_is_a_finding() -> None:
    limit = Requirement("net/netfilter/nf_conntrack_max", 2**31 - 1, "full", at_least=True)
    with empty_namespace():
        (finding,) = ensure([limit], set_allowed=True)
    assert finding.state is State.FAILED
    assert "cannot be set to 2147483647" in str(finding)
    assert len(recommended_for_fullnat()) == 2
