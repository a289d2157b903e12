from pathlib import Path

from lvskeeper.daemon.roles import LocalAddressSpec
from lvskeeper.daemon.state import OwnedState, StateFile
from lvskeeper.ipvs.types import Family, Protocol, ServiceKey
from lvskeeper.units import parse_address

STATE = OwnedState(
    (
        ServiceKey(Family.INET, Protocol.TCP, parse_address("198.51.100.1"), 80),
        ServiceKey(Family.INET6, Protocol.TCP, fwmark=7),
    ),
    (LocalAddressSpec(parse_address("fd00::10"), "eth1"),),
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
