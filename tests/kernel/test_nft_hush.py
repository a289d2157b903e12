"""The hush on this kernel, each test in a network namespace of its own."""

import socket
import subprocess
import sys

import pytest
from support.fullnat_net import empty_namespace, run

from lvskeeper.kernel.nft_hush import TABLE, Hush

pytestmark = pytest.mark.root

LOCAL = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])


def is_refused(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect((address, 9))
        client.send(b"?")
        try:
            client.recv(1)
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    raise AssertionError("somebody answered")


@LOCAL
def test_no_client_is_refused_in_a_hush_and_afterwards_all_are(address: str) -> None:
    with empty_namespace():
        hush = Hush()
        for _ in range(2):
            assert is_refused(address)
            with hush:
                assert not is_refused(address)
                run("nft flush ruleset")
                assert not is_refused(address)
        assert is_refused(address)
        assert run("nft list tables") == ""


def test_a_hush_goes_when_its_process_is_killed() -> None:
    code = (
        "import os\n"
        "from lvskeeper.kernel.nft import Generation\n"
        "from lvskeeper.kernel.nft_hush import TABLE, Hush\n"
        "hush = Hush()\n"
        "hush.__enter__()\n"
        "print(Generation().has_table(TABLE), flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    with empty_namespace():
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, timeout=60, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (-9, "True\n"), done.stderr
        with Hush():
            assert run("nft list tables") == f"table inet {TABLE}\n"


def test_where_it_cannot_be_had_there_is_none() -> None:
    with empty_namespace():
        with Hush("libnftables.so.none"):
            assert is_refused("127.0.0.1")
        with Hush(), Hush():  # as of another director: the table has an owner
            assert not is_refused("127.0.0.1")
        assert is_refused("127.0.0.1")
