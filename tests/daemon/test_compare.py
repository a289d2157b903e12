"""What a reload would change, from two files: in words, complete, and as the roles then do it."""

import json
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from itertools import pairwise
from pathlib import Path

import pytest
from support.director_site import site
from support.fake_ipvs import FakeIpvs
from support.fullnat_net import empty_namespace, run
from support.memfiles import MemoryFiles

from lvskeeper.cli.main import main
from lvskeeper.config.load import load
from lvskeeper.daemon.compare_director import compare_director
from lvskeeper.daemon.compare_router import compare_router
from lvskeeper.daemon.compile import compile_director
from lvskeeper.daemon.compile_router import compile_router
from lvskeeper.daemon.plan_change import Effect
from lvskeeper.daemon.roles import DirectorSpec
from lvskeeper.daemon.router_spec import RouterSpec
from lvskeeper.errors import ExitStatus
from lvskeeper.ipvs.dialect import MAINLINE
from lvskeeper.units import parse_address
from lvskeeper.vrrp import effects as fx
from lvskeeper.vrrp.router import Router
from lvskeeper.vrrp.spec import InstanceSpec
from lvskeeper.vrrp.states import State

GOLDEN = Path(__file__).parents[1] / "golden" / "plan"
NAMES = sorted(path.name.removesuffix(".new.conf") for path in GOLDEN.glob("*.new.conf"))


def plan(name: str, *options: str) -> list[str]:
    new, old = (str(GOLDEN / f"{name}.{kind}.conf") for kind in ("new", "old"))
    return ["plan", new, "--against", old, *options]


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_word_for_word(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(plan(name)) == ExitStatus.ATTENTION
    told = capsys.readouterr()
    assert told.err == ""
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("LVSKEEPER_GOLDEN") == "write":
        golden.write_text(told.out)
    assert told.out == golden.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_against_itself_is_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(GOLDEN / f"{name}.new.conf")
    assert main(["plan", file, "--against", file]) == ExitStatus.OK
    assert capsys.readouterr().out == "nothing to do: a reload would change nothing\n"


def test_json_has_area_and_impact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(plan("services", "-o", "json")) == ExitStatus.ATTENTION
    changes = json.loads(capsys.readouterr().out)["changes"]
    assert {
        "what": "delete service tcp 192.0.2.1:443",
        "impact": "interrupts",
        "area": "services",
        "waiting": False,
    } in changes
    assert {one["impact"] for one in changes} <= {effect.value for effect in Effect}


def test_a_file_with_errors_is_refused_whichever_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = tmp_path / "bad.conf", str(GOLDEN / "sync.old.conf")
    bad.write_text("virtual_server 192.0.2.1 80 {\n  protokol TCP\n}\n")
    for arguments in ([str(bad), "--against", good], [good, "--against", str(bad)]):
        assert main(["plan", *arguments]) == ExitStatus.CONFIG
        told = capsys.readouterr()
        assert told.out == ""
        assert f"{bad}:2:3: error: unknown keyword 'protokol'" in told.err


def test_no_secret_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(plan("vrrp"))
    assert "secret" not in capsys.readouterr().out


IN_TABLE = {"flags", "prefix", "forward"}
"""What the kernel's table shows: not every value of them is one of its own there."""


def others(value: object) -> Iterator[object]:
    """Yield values other than *value* that its place could have."""
    match value:
        case bool():
            yield not value
        case Enum():
            yield from (one for one in type(value) if one is not value)
        case int() | float():
            yield value + 1
        case str():
            yield f"{value}x"
        case bytes() if value:
            yield bytes([value[0] ^ 1, *value[1:]])
        case tuple() if value and type(value) is tuple:
            yield value[:-1]
        case _ if is_dataclass(value) and not isinstance(value, type):
            yield from mutants(value)
        case _:
            pass


def mutants(spec: object) -> Iterator[object]:
    """Yield *spec* with one of its fields changed, at any depth."""
    assert is_dataclass(spec)
    assert not isinstance(spec, type)
    for one in fields(spec):
        if one.name in IN_TABLE:
            continue
        value = getattr(spec, one.name)
        for other in others(value):
            try:
                yield replace(spec, **{one.name: other})
            except ValueError:
                continue
        if isinstance(value, tuple):
            for index, item in enumerate(value):
                if is_dataclass(item) and not isinstance(item, type):
                    for other in mutants(item):
                        yield replace(
                            spec, **{one.name: (*value[:index], other, *value[index + 1 :])}
                        )


def specs(text: str) -> tuple[DirectorSpec, RouterSpec | None]:
    loaded = load("a.conf", MemoryFiles({"a.conf": text}), allow_empty=True)
    assert loaded.config is not None, loaded.errors
    return compile_director(loaded.config), compile_router(loaded.config)


def files() -> list[tuple[DirectorSpec, RouterSpec | None]]:
    return [specs(path.read_text()) for path in sorted(GOLDEN.glob("*.new.conf"))]


def test_no_change_of_a_director_is_silent() -> None:
    count = 0
    for old, _ in files():
        for new in mutants(old):
            assert isinstance(new, DirectorSpec)
            try:
                told = compare_director(old, new) + compare_director(new, old)
            except (AssertionError, IndexError, KeyError, ValueError):
                continue  # no configuration comes to this
            count += 1
            assert told, new
    assert count > 200


def settled(spec: RouterSpec) -> RouterSpec:
    """Return *spec* with what stands in it twice as it stands in the first place."""
    return replace(spec, instances=tuple(
        replace(
            one,
            spec=replace(one.spec, accept=one.accept),
            rules=replace(
                one.rules, version=one.spec.version, vrid=one.spec.key.vrid,
                interval=one.spec.interval, addresses=one.spec.addresses,
            ),
        )
        for one in spec.instances
    ))  # fmt: skip


def test_no_change_of_a_router_is_silent() -> None:
    count = 0
    for _, old in files():
        for new in mutants(old) if old else ():
            assert isinstance(new, RouterSpec)
            if settled(new) == old:
                continue
            count += 1
            assert compare_router(old, new), new
            assert compare_router(new, old), new
    assert count > 200


DIRECTOR = """\
virtual_server 192.0.2.1 80 {{
  protocol TCP
  lb_algo {algo}
  lb_kind NAT
  quorum {quorum}
  {more}
  {servers}
}}
{last}
"""


def director(
    algo: str = "rr",
    servers: tuple[str, ...] = ("1", "2"),
    *,
    quorum: int = 1,
    more: str = "",
    last: str = "",
) -> str:
    lines = [f"real_server 198.51.100.{one.partition(' ')[0]} 80 {{ {one.partition(' ')[2]} }}"
             for one in servers]  # fmt: skip
    return DIRECTOR.format(algo=algo, quorum=quorum, more=more, servers="\n".join(lines), last=last)


OTHER = """\
virtual_server 192.0.2.2 80 {
  protocol TCP
  lb_algo rr
  lb_kind DR
  real_server 198.51.100.9 80 {
  }
}
"""
STEPS = [
    director(),
    director("wrr", ("1 weight 5", "2")),
    director("wrr", ("1 weight 5", "3")),
    director("wlc", ("1 weight 2", "3", "4"), quorum=9, more="sorry_server 198.51.100.8 80"),
    director("wlc", ("1 weight 2",), last=OTHER),
    director("rr", ("1 lvs_method DR",), more="persistence_timeout 60", last=OTHER),
    director("rr", ("1", "2"), more="delay_loop 7"),
    director("rr", ("1", "2"), more="delay_loop 8"),
]


@pytest.mark.root
@pytest.mark.asyncio
async def test_a_director_does_at_a_reload_what_the_plan_says(tmp_path: Path) -> None:
    kernel = FakeIpvs(MAINLINE)
    with empty_namespace():
        run("ip link set lo up")
        async with site(kernel, tmp_path) as here:
            await here.applied(STEPS[0])
            for old, new in pairwise(STEPS):
                told = compare_director(specs(old)[0], specs(new)[0])
                operations = [
                    one for one in told
                    if one.what.startswith(("add ", "set ", "delete ")) and not one.waiting
                ]  # fmt: skip
                kernel.writes.clear()
                done = await here.applied(new)
                assert done.operations == len(operations), (new, told)
                words = [f"{one.name.lower().replace('new', 'add').replace('del', 'delete')}"
                         for one in kernel.writes]  # fmt: skip
                assert sorted(word.partition("_")[0] for word in words) == sorted(
                    one.what.partition(" ")[0] for one in operations
                )


INSTANCE = """\
vrrp_instance a {{
  interface eth0
  virtual_router_id {vrid}
  priority {priority}
  version {version}
  {more}
  virtual_ipaddress {{
    192.0.2.10/24
  }}
}}
"""


def instance(*, vrid: int = 51, priority: int = 100, version: int = 2, more: str = "") -> str:
    return INSTANCE.format(vrid=vrid, priority=priority, version=version, more=more)


@pytest.mark.parametrize(
    ("changed", "leaves"),
    [
        (instance(priority=50), False),
        (instance(more="advert_int 2"), False),
        (instance(more="nopreempt"), False),
        (instance(more="authentication {\nauth_type PASS\nauth_pass x\n}"), False),
        (instance(vrid=52), True),
        (instance(version=3), True),
        (instance().replace("eth0", "eth1"), True),
        ("", True),
    ],
)
def test_a_router_lets_an_instance_go_where_the_plan_says_so(changed: str, *, leaves: bool) -> None:
    old, new = specs(instance())[1], specs(changed)[1] if changed else None
    assert old is not None
    told = [one for one in compare_router(old, new) if " leaves" in one.what]
    assert [one.impact for one in told] == [Effect.INTERRUPTS] * leaves
    core = Router(_ready(old))
    core.start(0.0)
    now = core.deadline()
    core.on_timer(now)
    core.on_timer(now)  # it looked once more before it took over
    (was,) = core.instances.values()
    assert was.state is State.MASTER
    effects = core.reload(_ready(new) if new else (), (), now + 1.0)
    assert any(isinstance(one, fx.ReleaseAddresses) for one in effects) is leaves
    masters = [one for one in core.instances.values() if one.state is State.MASTER]
    assert bool(masters) is not leaves


def _ready(spec: RouterSpec) -> list[InstanceSpec]:
    return [replace(one.spec, source=parse_address("192.0.2.1")) for one in spec.instances]
