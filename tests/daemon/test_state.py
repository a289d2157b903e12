import json
from pathlib import Path

import pytest

from lvskeeper.daemon.roles import LocalAddressSpec
from lvskeeper.daemon.state import OwnedState, Past, StateFile
from lvskeeper.errors import OperatorError
from lvskeeper.ipvs.types import DestKey, Family, Protocol, ServiceKey
from lvskeeper.units import parse_address

STATE = OwnedState(
    (
        ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80),
        ServiceKey(Family.INET6, Protocol.TCP, fwmark=7),
    ),
    (LocalAddressSpec(parse_address("fd00::10"), "eth1"),),
    {"group web": Past(had_quorum=True, servers=(DestKey(parse_address("10.0.0.1"), 80),))},
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    StateFile(tmp_path).save(STATE)

    assert StateFile(tmp_path).load() == STATE


def test_nothing_saved_is_nothing_owned(tmp_path: Path) -> None:
    assert StateFile(tmp_path).load() == OwnedState()


def test_a_damaged_file_is_nothing_owned(tmp_path: Path) -> None:
    StateFile(tmp_path).save(STATE)
    file = tmp_path / "director.json"
    file.write_bytes(file.read_bytes()[:-10])

    assert StateFile(tmp_path).load() == OwnedState()


def test_an_unchanged_state_is_not_written_again(tmp_path: Path) -> None:
    keeper = StateFile(tmp_path)
    keeper.save(STATE)
    (tmp_path / "director.json").unlink()

    keeper.save(STATE)

    assert not (tmp_path / "director.json").exists()


def test_the_file_is_known_to_hold_what_was_saved_last(tmp_path: Path) -> None:
    keeper = StateFile(tmp_path)
    assert not keeper.holds(STATE)
    keeper.save(STATE)
    assert keeper.holds(STATE)
    same = OwnedState(STATE.services, STATE.addresses, STATE.past)
    keeper.save(same)
    assert keeper.holds(same)
    (tmp_path / "director.new").mkdir()
    with pytest.raises(OperatorError):
        keeper.save(OwnedState())
    assert keeper.holds(same)


def test_what_another_boot_or_namespace_left_is_not_ours(tmp_path: Path) -> None:
    StateFile(tmp_path).save(STATE)
    file = tmp_path / "director.json"
    saved = json.loads(file.read_text())
    saved["kernel"] = "another boot 4026531840"
    file.write_text(json.dumps(saved))

    assert StateFile(tmp_path).load() == OwnedState()


def test_a_state_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    keeper = StateFile(tmp_path / "gone")

    with pytest.raises(OperatorError, match=r"director\.json: No such file or directory"):
        keeper.save(STATE)
