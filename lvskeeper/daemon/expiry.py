"""Tells in time that certificates of real servers are about to expire (``expiry_warning``)."""

import time
from collections.abc import Mapping
from typing import Final, TypeAlias, final

from lvskeeper.health.pool import CheckId, Pool
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit

DAY: Final = 86_400.0
MAX_CERTIFICATES: Final = 8
"""Certificates that are remembered of one check: a server may show several in turn."""

_Id: TypeAlias = tuple[str, CheckId[DestKey]]


@final
class ExpiryWatch:
    """What was told of which certificate: each is told of once a day, a new one at once."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._told: dict[_Id, dict[float, int]] = {}
        """The days left when it was told, by the end of the certificate."""

    def follow(self, pools: Mapping[str, Pool[DestKey]]) -> None:
        """Forget what was told of checks that are no longer in *pools*."""
        self._told = {
            (name, check_id): told
            for (name, check_id), told in self._told.items()
            if name in pools and pools[name].checker(check_id) is not None
        }

    def note(self, name: str, check_id: CheckId[DestKey], expires: float) -> None:
        """Take when the certificate that *check_id* has seen expires, since 1970."""
        tls = check_id.target.tls
        days = int((expires - time.time()) // DAY)
        if tls is None or days >= tls.expiry:
            return
        told = self._told.setdefault((name, check_id), {})
        before = told.pop(expires, None)
        told[expires] = days  # the latest is the last
        if before == days:
            return
        if len(told) > MAX_CERTIFICATES:
            del told[next(iter(told))]
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        self._emit(
            events.CertificateExpires(
                name, str(check_id.key), str(check_id.target), when, max(days, -1)
            )
        )
