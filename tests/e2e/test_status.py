"""Status, explain and their exit statuses, asked of a daemon with VRRP on the host's kernel."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Done, command
from support.vrrp_lan import PATIENCE, wait_until
from support.vrrp_site import Site, instance, site

pytestmark = pytest.mark.root


def ask(run_dir: Path, *arguments: str) -> Done:
    return command(*arguments, "--run-dir", run_dir)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("status")
    with site(folder, instance(priority=150), instance(priority=100)) as made:
        made.daemon.start()
        made.wait("MASTER")
        made.peer.start()
        made.wait("BACKUP", who="peer")
        made.peer.wait_for("vrrp_master_learned", timeout=PATIENCE)
        yield made


def test_status_of_a_master_and_its_backup(pair: Site) -> None:
    ours = ask(pair.daemon.run_dir, "status", "vrrp")
    assert ours.status == 0, ours.err
    title, head, row = ours.out.splitlines()
    assert title.startswith("VRRP (as of 0.")
    assert head.split() == ["INSTANCE", "STATE", "FOR", "PRIORITY", "MASTER", "HEARD", "ADDRESSES"]
    assert row.split()[:2] == ["one", "MASTER"]
    theirs = ask(pair.peer.run_dir, "status", "vrrp")
    assert theirs.out.splitlines()[2].split()[:2] == ["one", "BACKUP"]
    assert "192.0.2.1 (150)" in theirs.out


def test_the_head_names_the_roles_with_their_last_sign_of_life(pair: Site) -> None:
    shown = ask(pair.daemon.run_dir, "status").out
    assert f"router: pid {pair.daemon.role('router')}, up " in shown
    assert " last sign of life " in shown


def test_json_has_every_value(pair: Site) -> None:
    asked = ask(pair.daemon.run_dir, "status", "-o", "json")
    snapshot = json.loads(asked.out)
    assert snapshot["router"]["instances"][0]["state"] == "MASTER"
    assert snapshot["daemon"]["taken"] <= time.monotonic()
    only = json.loads(ask(pair.daemon.run_dir, "status", "vrrp", "-o", "json").out)
    assert only.keys() == snapshot["router"].keys()


@pytest.mark.parametrize(("who", "status"), [("daemon", 0), ("peer", 1)])
def test_is_master_answers_by_its_exit_status(pair: Site, who: str, status: int) -> None:
    run_dir = pair.daemon.run_dir if who == "daemon" else pair.peer.run_dir
    asked = ask(run_dir, "status", "--is-master", "one")
    assert (asked.status, asked.out, asked.err) == (status, "", "")


def test_a_name_that_does_not_exist_is_no_answer(pair: Site) -> None:
    assert ask(pair.daemon.run_dir, "status", "--is-master", "two").status == 9
    asked = ask(pair.daemon.run_dir, "explain", "instance", "two")
    assert asked.status == 9
    assert "there is no VRRP instance 'two'" in asked.err


def test_explain_says_why_a_backup_is_no_master_and_what_would_change_that(pair: Site) -> None:
    asked = ask(pair.peer.run_dir, "explain", "instance", "one")
    assert asked.status == 0, asked.err
    assert "192.0.2.1 is master with priority 150, heard " in asked.out
    assert "our priority is 100: lower than the master's" in asked.out
    assert "- 192.0.2.1 resigns, or is silent for " in asked.out
    assert "- a priority of ours above 150" in asked.out


def test_a_stuck_router_is_no_master(pair: Site) -> None:
    frozen = pair.daemon.freeze(pair.daemon.role("router"))
    try:
        asked = ask(pair.daemon.run_dir, "status")
        assert asked.status == 10
        assert "VRRP: unknown" in asked.out
        assert "MASTER" not in asked.out
        assert "the router role did not answer" in asked.err
        assert ask(pair.daemon.run_dir, "status", "--is-master", "one").status == 10
    finally:
        pair.daemon.thaw(frozen)
    wait_until(
        lambda: ask(pair.daemon.run_dir, "status", "--is-master", "one").status == 0,
        lambda: "it is no master again",
    )


def test_watch_tells_a_daemon_that_died_and_shows_no_state_of_it(tmp_path: Path) -> None:
    with site(tmp_path, instance()) as made:
        made.daemon.start()
        made.wait("MASTER")
        watch = [sys.executable, "-m", "lvskeeper", "status", "vrrp", "--watch", "0.2"]
        watch += ["--run-dir", str(made.daemon.run_dir)]
        with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            try:
                while "MASTER" not in watcher.stdout.readline():
                    pass
                made.daemon.kill()
                while "NO ANSWER" not in (line := watcher.stdout.readline()):
                    pass
                assert "it last answered " in line
                rest = [watcher.stdout.readline() for _ in range(6)]
                assert not any("MASTER" in line for line in rest)
            finally:
                watcher.kill()
        asked = ask(made.daemon.run_dir, "status", "--is-master", "one")
        assert asked.status == 7
