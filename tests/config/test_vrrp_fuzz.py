"""Whatever stands in the blocks of the VRRP half, there is an answer, and it can be compiled."""

from hypothesis import given
from hypothesis import strategies as st
from support.memfiles import MemoryFiles

from lvskeeper.config.keywords import BLOCKS, ROOT
from lvskeeper.config.load import load
from lvskeeper.config.vrrp_keywords import GLOBALS, ROOT_NAMES, TABLES
from lvskeeper.daemon.compile_router import compile_router

VALUES = (
    "", "A", "B", "eth0", "eth1", "1", "2", "3", "255", "51", "0", "-5", "0.5", "192.0.2.1",
    "192.0.2.10/24", "2001:db8::1/64", "fe80::1", "224.0.0.18", "weight 5 reverse", "MASTER",
    "BACKUP", "PASS", "AH", "no", "yes", "name v0", '"/bin/x a" nobody', "dev eth1", "x {", "{",
    "}", "file:k", f"1 {'k' * 32}", f"2 {'k' * 40}", "enforce", "from 192.0.2.1 table 5", "/run/x",
)  # fmt: skip


def _entries(block: str) -> st.SearchStrategy[str]:
    listed = st.lists(st.sampled_from(VALUES[:29]), max_size=4)
    return listed.map(lambda values: f"{block} {{\n{chr(10).join(values)}\n}}")


def _line(block: str) -> st.SearchStrategy[str]:
    names = sorted(BLOCKS[block])
    scalar = st.builds(lambda name, value: f"{name} {value}", st.sampled_from(names),
                       st.sampled_from(VALUES))  # fmt: skip
    held = [name for name in names if BLOCKS[block][name].entries is not None]
    inner = [name for name in names if BLOCKS[block][name].block and name not in held]
    lines = [scalar, *(_entries(name) for name in held)]
    lines += [_block(name, "") for name in inner if name in BLOCKS]
    return st.one_of(lines)


def _block(block: str, name: str) -> st.SearchStrategy[str]:
    lines = st.lists(_line(block), max_size=8)
    return lines.map(lambda found: f"{block} {name} {{\n{chr(10).join(found)}\n}}")


SOUND = "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\n%s\n}"
ROOTS = st.one_of(
    *(_block(name, label) for name, _ in TABLES if name in ROOT_NAMES for label in ("A", "B")),
    *(_entries(name) for name in sorted(ROOT_NAMES) if BLOCKS[ROOT][name].entries is not None),
    st.lists(
        st.builds(
            lambda keyword, value: f"{keyword.name} {value}",
            st.sampled_from(GLOBALS),
            st.sampled_from(VALUES),
        ),
        max_size=5,
    ).map(lambda found: f"global_defs {{\n{chr(10).join(found)}\n}}"),
    st.lists(_line("vrrp_instance"), max_size=3).map(lambda found: SOUND % "\n".join(found)),
)


@given(st.lists(ROOTS, min_size=1, max_size=4).map("\n".join))
def test_whatever_the_blocks_hold_there_is_an_answer(text: str) -> None:
    loaded = load("a.conf", MemoryFiles({"a.conf": text, "k": "k" * 32}, exposed=["b"]))
    assert (loaded.config is None) == bool(loaded.errors)
    if loaded.config is not None:
        spec = compile_router(loaded.config)
        assert spec is None or len(spec.instances) <= text.count("vrrp_instance")
