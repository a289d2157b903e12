"""A director role that does not answer: the router yields in time, and is back when it is."""

import time
from pathlib import Path

import pytest
from support.vrrp_lan import OURS, THEIRS
from support.vrrp_site import VIP, instance, site

from lvskeeper.daemon.router import BEAT_INTERVAL, SECOND_LOOK

pytestmark = [pytest.mark.root, pytest.mark.ipvs, pytest.mark.timeout(300)]

TIMEOUT = 3.0
TURN = 0.5
"""Seconds that an emulated machine under load may need for what has no wait of its own."""
SERVICE = f"""
virtual_server {VIP} 80 {{
  lb_algo rr
  lb_kind NAT
  protocol TCP
  real_server 192.0.2.3 80 {{
  }}
}}
"""
FAULT = "director does not answer"


def test_a_stuck_director_costs_the_mastership_until_it_answers(tmp_path: Path) -> None:
    settings = f"global_defs {{\n vrrp_director_timeout {TIMEOUT:g}\n}}\n"
    with site(tmp_path, settings + instance(priority=200) + SERVICE, instance(priority=100)) as it:
        it.daemon.start()
        it.wait("MASTER")
        it.peer.start()
        it.wait_for_holders(OURS)
        now, since = time.time(), time.monotonic()
        frozen = it.daemon.freeze(it.daemon.role("director"))
        fault = it.faults(FAULT, since=since)
        # It was heard a beat ago at most, and is believed silent at the second look
        least, most = TIMEOUT - BEAT_INTERVAL + SECOND_LOOK, TIMEOUT + SECOND_LOOK
        assert least - TURN < fault.at - now < most + TURN
        assert it.wait("FAULT", since=since).fields["cause"] == "fault"
        assert it.wait("MASTER", who=THEIRS, since=since).fields["cause"] == "the master resigned"
        it.wait_for_holders(THEIRS)
        assert it.priorities(since=now)[-1] == 0
        since = time.monotonic()
        it.daemon.thaw(frozen)
        it.daemon.wait_for("director_back", since=since)
        it.faults("none", since=since)
        it.wait("MASTER", since=since)
        it.wait_for_holders(OURS)
        assert it.daemon.events("role_stuck", "role_died") == []
