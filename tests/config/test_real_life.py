"""A file as one finds them on directors loads, and is told in its own words what is skipped."""

from pathlib import Path

from lvskeeper.config.codes import Code
from lvskeeper.config.diagnostics import Severity
from lvskeeper.config.load import load
from lvskeeper.kernel.files import LocalFiles

FILE = Path(__file__).parents[1] / "golden" / "config" / "real-life.conf"


def test_it_loads_with_warnings() -> None:
    loaded = load(str(FILE), LocalFiles())
    assert loaded.config is not None, [str(one) for one in loaded.errors]
    assert {one.severity for one in loaded.diagnostics} == {Severity.WARNING}
    skipped = {
        one.message.split("'")[1] for one in loaded.diagnostics if one.code.number == "LK0203"
    }
    assert not skipped
    others = {
        one.code.number: one.message
        for one in loaded.diagnostics
        if one.code is not Code.CLEAR_PASSWORD  # that is a matter of the working tree's modes
    }
    assert set(others) == {"LK0219", "LK0423", "LK0432", "LK0434"}
    assert others["LK0423"].startswith("in the group 'VG_1' weights do not count")
    assert others["LK0432"].startswith("in the group 'VG_1' state differs")
    assert others["LK0434"].startswith("one failure of 'chk_haproxy' moves the addresses")


def test_what_is_served_is_there() -> None:
    config = load(str(FILE), LocalFiles()).config
    assert config is not None
    tls, web = config.virtual_servers
    assert [len(one.checks) for one in tls.real_servers] == [1, 2]
    assert web.quorum_up is not None
    assert web.quorum_up.argv == ("/sbin/ip", "addr", "add", "192.0.2.10/32", "dev", "lo")
    assert web.real_servers[0].checks[0].retry == 3
