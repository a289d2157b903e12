"""Tells in time that certificates of real servers are about to expire (``expiry_warning``)."""

import time
from collections.abc import Mapping
from typing import Final, TypeAlias, final

from lvskeeper.health.pool import CheckId, Pool
from lvskeeper.ipvs.types import DestKey
from lvskeeper.observe import events
from lvskeeper.observe.log import Emit

DAY: Final = 86_400.0

_Id: TypeAlias = tuple[str, CheckId[DestKey]]


@final
class ExpiryWatch:
    """What was told of which certificate: once a day, and at once of another certificate."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._told: dict[_Id, tuple[float, int]] = {}
        """End of the certificate, and the days left when it was told."""

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
        key = (name, check_id)
        if tls is None or days >= tls.expiry:
            self._told.pop(key, None)
            return
        if self._told.get(key) == (expires, days):
            return
        self._told[key] = (expires, days)
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        self._emit(
            events.CertificateExpires(
                name, str(check_id.key), str(check_id.target), when, max(days, -1)
            )
        )
