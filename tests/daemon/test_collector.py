import gc

import pytest

from lvskeeper.daemon.collector import Collector


def test_nothing_is_collected_until_the_last_one_is_done() -> None:
    collector = Collector()
    first, second = collector.paused(), collector.paused()
    assert gc.isenabled()
    with first:
        second.__enter__()
        assert not gc.isenabled()
    assert not gc.isenabled(), "the second one goes on"
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_a_failure_ends_the_pause() -> None:
    with pytest.raises(OSError, match="nft"), Collector().paused():
        raise OSError("nft")
    assert gc.isenabled()
