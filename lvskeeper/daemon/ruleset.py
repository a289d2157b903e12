"""From the director's configuration to its nftables ruleset, and from one ruleset to the next.

Plain functions of values: the keeper of the table calls them, and so does ``lvskeeper plan``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from lvskeeper.daemon.desired import local_addresses, local_pools, uses_fullnat
from lvskeeper.daemon.roles import DirectorSpec, SynProxySpec, TcpDefence, VirtualServerSpec
from lvskeeper.fullnat.content import Content, differences
from lvskeeper.fullnat.defence import Defences
from lvskeeper.fullnat.hold import Hold
from lvskeeper.fullnat.parts import is_tcp
from lvskeeper.fullnat.pools import Pool
from lvskeeper.fullnat.ruleset import KEEP, Ruleset, Source, covering, expected_content
from lvskeeper.fullnat.synproxy import MSS, WSCALE, Cookies, SynProxy, exempt
from lvskeeper.ipvs.types import Forward, ServiceKey

if TYPE_CHECKING:
    from lvskeeper.units import Address

Measured: TypeAlias = Mapping[ServiceKey, tuple[int, int]]
"""What the real servers of a service offer at least, of all: MSS in bytes and window scale."""

EMPTY: Final = Ruleset()


def ruleset_of(spec: DirectorSpec, measured: Measured | None = None) -> Ruleset:
    """Return the ruleset that the virtual servers of *spec* need, as if all had a server.

    SYN cookies promise what the configuration says, else what was *measured*, else the defaults.
    """
    groups = local_pools(spec)
    fullnat: dict[ServiceKey, Source] = {}
    proxied: dict[ServiceKey, SynProxy] = {}
    every = [key for virtual in spec.virtual_servers for key in virtual.keys]
    for virtual in spec.virtual_servers:
        translated, pool = uses_fullnat(virtual), groups.get(virtual.pool)
        for key in virtual.keys:
            if translated and local_addresses(pool, key.family):
                fullnat[key] = Source(virtual.pool, virtual.ports)
            if virtual.syn_proxy is not None and is_tcp(key):
                proxied[key] = _promise(key, virtual.syn_proxy, measured or {})
    used = {source.pool for source in fullnat.values()}
    pools = tuple(group for name, group in groups.items() if name in used)
    services = covering(fullnat, (key for key in every if key not in fullnat))
    direct = exempt(proxied, (key for key in every if is_tcp(key) and key not in proxied))
    cookies, defences = Cookies(proxied, direct), _defences(spec, every)
    mixed = any(map(_mixes_in_direct, spec.virtual_servers))
    return Ruleset(pools, services, cookies, defences, _hold(spec, pools), mixed)


def union(old: Ruleset, new: Ruleset) -> Ruleset:
    """Return the ruleset between *old* and *new*, which hurts the services of neither.

    While a service leaves the IPVS table its connections still find their LIP, and only what both
    drop is dropped.
    """
    if not old.used:
        return new
    pools = {pool.name: pool for pool in (*old.pools, *new.pools)}
    services = {
        key: source
        for key, source in {**old.services, **new.services}.items()
        if source == KEEP or pools[source.pool].addresses(key.family)
    }
    proxied = {**old.cookies.proxied, **new.cookies.proxied}
    cookies = replace(
        new.cookies,
        proxied=proxied,
        direct=frozenset((old.cookies.direct | new.cookies.direct) - proxied.keys()),
        serverless=old.cookies.serverless | new.cookies.serverless,
    )
    defences = old.defences.common(new.defences)
    mixed = old.direct or new.direct
    return Ruleset(tuple(pools.values()), services, cookies, defences, new.hold, mixed)


def differences_from(wanted: Ruleset, found: Content | None) -> tuple[str, ...]:
    """Return how the table *found* differs from *wanted*, in sentences."""
    expected = expected_content(wanted)
    if expected is None:
        return () if found is None else ("a table that no virtual server needs",)
    return differences(expected, found)


def summary(ruleset: Ruleset) -> str:
    """Return in words what *ruleset* is there for."""
    defences = ruleset.defences
    counted = (
        (sum(source != KEEP for source in ruleset.services.values()), "services with FULLNAT"),
        (len(ruleset.cookies.proxied), "services with SYNPROXY"),
        (len(defences.strays), "services defended against stray TCP segments"),
        (len(defences.closed), "addresses whose other TCP ports are closed"),
        (len(defences.udp), "addresses defended against UDP"),
        (len(defences.fragments), "addresses defended against fragments"),
        (len(ruleset.hold.vips), "addresses held at a take-over"),
    )
    return ", ".join(f"{what}: {number}" for number, what in counted if number)


def _promise(key: ServiceKey, spec: SynProxySpec, measured: Measured) -> SynProxy:
    mss, wscale = measured.get(key, (MSS[key.family], WSCALE))
    return SynProxy(
        mss if spec.mss is None else spec.mss,
        wscale if spec.wscale is None else spec.wscale,
        spec.timestamp,
        spec.sack,
    )


def _defences(spec: DirectorSpec, every: list[ServiceKey]) -> Defences:
    strays: set[ServiceKey] = set()
    closed: set[Address] = set()
    udp: set[Address] = set()
    fragments: set[Address] = set()
    for virtual in spec.virtual_servers:
        wanted = virtual.defence
        addressed = [key for key in virtual.keys if not key.fwmark]
        tcp = [key for key in addressed if is_tcp(key)]
        if wanted.tcp is not TcpDefence.NO and returns_through_us(virtual):
            strays.update(tcp)
        if wanted.tcp is TcpDefence.VIP:
            closed.update(key.address for key in tcp)
        if wanted.udp:
            udp.update(key.address for key in tcp)
        if wanted.fragments:
            fragments.update(key.address for key in addressed)
    return Defences.of(every, strays=strays, closed=closed, udp=udp, fragments=fragments)


def _hold(spec: DirectorSpec, pools: Iterable[Pool]) -> Hold:
    """Return what is held at a take-over, where connections come from a peer.

    Of services whose answers pass us by, connection tracking knows less than IPVS does; so their
    addresses are left out, and with a mark on them it is not known which these are.
    """
    if spec.state_sync is None or not spec.state_sync.hold:
        return Hold()
    through: set[Address] = set()
    past: set[Address] = set()
    for virtual in spec.virtual_servers:
        if returns_through_us(virtual):
            through.update(key.address for key in virtual.keys if is_tcp(key))
        elif any(key.fwmark for key in virtual.keys):
            past |= {key.address for other in spec.virtual_servers for key in other.keys}
        else:
            past.update(key.address for key in virtual.keys)
    lips = (address for pool in pools for address in (*pool.v4, *pool.v6))
    return Hold(frozenset(through - past), frozenset(lips))


def _mixes_in_direct(virtual: VirtualServerSpec) -> bool:
    """Return whether some real servers of *virtual* are reached by FULLNAT and others by DR."""
    return uses_fullnat(virtual) and any(item.forward is Forward.DR for item in virtual.servers)


def returns_through_us(virtual: VirtualServerSpec) -> bool:
    """Return whether all real servers of *virtual* answer through the director (NAT, FULLNAT).

    Otherwise conntrack sees half of each connection, and takes all segments for stray ones.
    """
    return all(server.forward in {Forward.NAT, Forward.FULLNAT} for server in virtual.servers)
