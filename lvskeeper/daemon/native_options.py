"""Tells which options of virtual servers a FULLNAT kernel does not have for each of them."""

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from lvskeeper.daemon.roles import DirectorSpec, SynProxySpec, TcpDefence, VirtualServerSpec
from lvskeeper.observe.fullnat_events import OptionsPassedOver

SHOWN: Final = 5
"""Virtual servers named in one event."""

_Given: TypeAlias = Callable[[VirtualServerSpec], bool]


def _cookies(given: Callable[[SynProxySpec], bool]) -> _Given:
    return lambda virtual: virtual.syn_proxy is not None and given(virtual.syn_proxy)


_OPTIONS: Final[tuple[tuple[str, str, _Given], ...]] = (
    ("laddr_ports", "fullnat_lport_min, fullnat_lport_max", lambda item: item.ports is not None),
    ("syn_proxy_mss", "synproxy_init_mss", _cookies(lambda said: said.mss is not None)),
    ("syn_proxy_wscale", "synproxy_wscale", _cookies(lambda said: said.wscale is not None)),
    ("syn_proxy_timestamp", "synproxy_timestamp", _cookies(lambda said: not said.timestamp)),
    ("syn_proxy_sack", "synproxy_sack", _cookies(lambda said: not said.sack)),
    ("defence_tcp_drop", "defence_tcp_drop", lambda item: item.defence.tcp is not TcpDefence.NO),
    ("defence_udp_drop", "defence_udp_drop", lambda item: item.defence.udp),
    ("defence_frag_drop", "defence_frag_drop", lambda item: item.defence.fragments),
)
"""The option, the settings of ``ipvs_sysctls`` in its place, and whether it is other than its
default, which a FULLNAT kernel does not have either."""


def passed_over(spec: DirectorSpec) -> list[OptionsPassedOver]:
    """Return what a FULLNAT kernel passes over in *spec*, one event an option."""
    return list(_passed_over(spec))


def _passed_over(spec: DirectorSpec) -> Iterator[OptionsPassedOver]:
    for option, settings, given in _OPTIONS:
        names = [item.name for item in spec.virtual_servers if given(item)]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            yield OptionsPassedOver(option, ", ".join(names[:SHOWN]) + more, settings)
