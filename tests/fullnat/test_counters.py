"""The counters of both worlds, from samples in the kernels' own layouts."""

from hypothesis import given
from hypothesis import strategies as st

from lvskeeper.fullnat.counters import (
    MAX_RATE_GAP,
    Snapshot,
    growth,
    parse_extended,
    parse_synproxy,
    snapshot,
)

STOCK = (
    "entries\t\tsyn_received\tcookie_invalid\tcookie_valid\tcookie_retrans\tconn_reopened\n"
    "00000000\t00000010\t00000001\t0000000a\t00000002\t00000000\n"
    "00000000\t000000ff\t00000000\t00000006\t00000000\t00000001\n"
)

FORK = (
    "                                  CPU0       CPU1       \n"
    "fullnat_add_toa_ok       :         7          5 \n"
    "fullnat_add_toa_fail_proto:         0          0 \n"
    "fast_xmit_synproxy_save_inside:         1 4294967296000 \n"
    "synproxy_bad_ack         :         3          0 \n"
    "synproxy_ok_ack          :        40          2 \n"
    "synproxy_syn_cnt         :12345678901         99 \n"
)


def test_stock_kernels_count_in_hexadecimal_on_each_cpu() -> None:
    assert parse_synproxy(STOCK) == {
        "syn_received": 0x10F,
        "cookie_invalid": 1,
        "cookie_valid": 16,
        "cookie_retrans": 2,
        "conn_reopened": 1,
    }


def test_a_column_more_or_less_is_no_trouble() -> None:
    assert parse_synproxy("entries\tsyn_received\tnew\n0\t1f\n0\t01\t02\t03\n") == {
        "syn_received": 32,
        "new": 2,
    }


def test_fullnat_kernels_count_in_decimal_on_each_cpu() -> None:
    found = parse_extended(FORK)

    assert found["fullnat_add_toa_ok"] == 12
    assert found["fullnat_add_toa_fail_proto"] == 0
    assert found["fast_xmit_synproxy_save_inside"] == 4294967296001
    assert found["synproxy_syn_cnt"] == 12345679000
    assert len(found) == 6


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for parse in (parse_synproxy, parse_extended):
        for value in parse(text).values():
            assert isinstance(value, int)


def test_both_worlds_have_the_same_three_numbers() -> None:
    stock, fork = snapshot(parse_synproxy(STOCK), 1.0), snapshot(parse_extended(FORK), 1.0)

    assert (stock.syns, stock.handshakes, stock.forged) == (0x10F, 16, 1)
    assert (fork.syns, fork.handshakes, fork.forged) == (12345679000, 42, 3)
    none = Snapshot(1.0)
    assert (none.syns, none.handshakes, none.forged) == (0, 0, 0)


def test_rates_come_from_two_looks() -> None:
    first = snapshot({"syn_received": 10}, 100.0)
    second = snapshot({"syn_received": 40, "cookie_valid": 3}, 102.0, first)

    assert first.rates == {}
    assert second.rates == {"syn_received": 15.0}
    assert snapshot({"syn_received": 50}, 102.0, second).rates == {}
    assert snapshot({"syn_received": 50}, 103.0 + MAX_RATE_GAP, second).rates == {}


def test_counters_wrap_and_begin_anew() -> None:
    assert growth(5, 9) == 4
    assert growth(2**32 - 1, 9) == 10
    assert growth(2**33 - 2**32, 7) == 7
    assert growth(1000, 9) == 9
