"""Routers that do not fit ours: each difference is told once, and counted."""

import re
import time
from pathlib import Path

import pytest
from support.vrrp_lan import OURS, THEIRS, wait_until
from support.vrrp_site import instance, site

pytestmark = pytest.mark.root

ENOUGH = 20
"""Adverts of each kind, of which the first alone is told."""


def _secret(word: str) -> tuple[str, ...]:
    return "authentication {", "auth_type PASS", f"auth_pass {word}", "}"


def test_differences_are_told_once_and_counted(tmp_path: Path) -> None:
    here = (
        "global_defs {\n log_unknown_vrids\n}\n"
        + instance("differs", vrid=5, vips=("192.0.2.100", "192.0.2.101"))
        + instance("secret", *_secret("sesame"), vrid=6, version=2, interval=1,
                   vips=("192.0.2.106",))
    )  # fmt: skip
    there = (
        instance("differs", vrid=5, priority=200, vips=("192.0.2.100", "192.0.2.102"))
        + instance("secret", *_secret("barley"), vrid=6, version=2, interval=1, priority=200,
                   vips=("192.0.2.106",))
        + instance("foreign", vrid=9, vips=("192.0.2.109",))
    )  # fmt: skip
    with site(tmp_path, here, there) as it:
        it.peer.start()
        it.wait("MASTER", name="foreign", who=THEIRS)
        it.daemon.start()
        it.wait("MASTER", name="secret")
        now = time.time()
        noted = it.daemon.wait_for("vrrp_advert_noted", instance="differs")
        assert {"192.0.2.101", "192.0.2.102"} <= {*re.findall(r"[\d.]+\d", noted.fields["detail"])}
        foreign = it.daemon.wait_for("vrrp_unknown_vrid")
        assert (foreign.fields["vrid"], foreign.fields["peer"]) == (9, "192.0.2.2")
        rejected = it.daemon.wait_for("vrrp_advert_rejected", instance="secret")
        assert rejected.fields["peer"] == "192.0.2.2"
        assert "password" in f"{rejected.fields['kind']} {rejected.fields['detail']}"
        assert not {"sesame", "barley"} & {*rejected.fields["detail"].split()}
        wait_until(
            lambda: all(
                len(it.priorities(since=now, vrid=vrid, host=THEIRS)) > ENOUGH for vrid in (5, 9)
            ),
            "no adverts of both strangers",
        )
        assert len(it.daemon.events("vrrp_advert_noted")) == 1
        assert len(it.daemon.events("vrrp_unknown_vrid")) == 1
        # once as a backup, once more as the master that it became
        assert len(it.daemon.events("vrrp_advert_rejected")) <= 2
        it.wait_for_holders(OURS, THEIRS, vip="192.0.2.106")
        asked = it.daemon.ask_for_reports()
        report = it.daemon.wait_for("vrrp_report", since=asked, instance="secret")
        (count,) = re.findall(r"(\d+)$", report.fields["rejected"])
        assert int(count) >= 3, report
        report = it.daemon.wait_for("vrrp_report", since=asked, instance="differs")
        assert report.fields["received"] > ENOUGH
        assert "192.0.2.2 (priority 200, " in report.fields["peers"]
