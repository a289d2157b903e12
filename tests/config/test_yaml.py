from hypothesis import given
from hypothesis import strategies as st
from support.memfiles import MemoryFiles

from lvskeeper.config.check_model import TcpCheck
from lvskeeper.config.load import Loaded, load

HEAD = "virtual_servers:\n  - address: 192.0.2.1\n    port: 80\n    protocol: TCP\n"


def read(text: str, *, allow_empty: bool = False, **others: str) -> Loaded:
    texts = {name.replace("_", "."): other for name, other in others.items()}
    return load("a.yaml", MemoryFiles({"a.yaml": text, **texts}), allow_empty=allow_empty)


def test_values_are_words_and_not_what_yaml_makes_of_them() -> None:
    loaded = read(HEAD + "    alpha: no\n    weight: 010\n    delay_loop: 1_0\n")
    assert [one.message for one in loaded.errors] == ["delay_loop: '1_0' is not a time in seconds"]
    loaded = read(HEAD + "    alpha: no\n    omega: on\n    weight: 010\n")
    assert loaded.config is not None
    (server,) = loaded.config.virtual_servers
    assert (server.alpha, server.omega, server.weight) == (False, True, 10)


def test_aliases_share_a_check() -> None:
    loaded = read(
        HEAD + "    real_servers:\n"
        "      - {address: 198.51.100.1, TCP_CHECK: &check {connect_port: 81}}\n"
        "      - {address: 198.51.100.2, TCP_CHECK: *check}\n"
    )
    assert loaded.config is not None
    one, two = loaded.config.virtual_servers[0].real_servers
    assert one.checks == two.checks
    (check,) = one.checks
    assert isinstance(check, TcpCheck)
    assert check.connect_port == 81


def test_several_checks_of_one_kind_are_a_list() -> None:
    loaded = read(
        HEAD + "    real_servers:\n"
        "      - address: 198.51.100.1\n"
        "        TCP_CHECK: [{connect_port: 81}, {connect_port: 82}]\n"
    )
    assert loaded.config is not None
    checks = loaded.config.virtual_servers[0].real_servers[0].checks
    assert [one.connect_port for one in checks if isinstance(one, TcpCheck)] == [81, 82]


def test_commands_keep_their_blanks() -> None:
    loaded = read(HEAD + "    quorum_up: /bin/x a b\n    quorum_down: ['/bin/x a', nobody]\n")
    assert loaded.config is not None
    (server,) = loaded.config.virtual_servers
    assert server.quorum_up is not None
    assert server.quorum_down is not None
    assert (server.quorum_up.argv, server.quorum_up.user) == (("/bin/x", "a", "b"), "")
    assert (server.quorum_down.argv, server.quorum_down.user) == (("/bin/x", "a"), "nobody")


def test_the_two_forms_include_each_other() -> None:
    loaded = read(
        "include: [b.conf]\nvirtual_servers:\n"
        "  - {address: 192.0.2.1, port: 80, protocol: TCP, include: c.yaml}\n",
        b_conf="virtual_server 192.0.2.2 80 {\n protocol TCP\n include c.yaml\n}\n",
        c_yaml="lb_algo: mh\n",
    )
    assert loaded.config is not None
    assert [server.lb_algo for server in loaded.config.virtual_servers] == ["mh", "mh"]


def test_unserved_blocks_are_skipped_with_a_warning() -> None:
    loaded = read("bfd_instance:\n  - name: a\n    passive: yes\n", allow_empty=True)
    assert loaded.config is not None
    assert [one.code.number for one in loaded.diagnostics] == ["LK0203"]


def test_an_empty_file_is_refused_unless_it_is_meant() -> None:
    for text in ("", "# nothing\n", "virtual_servers:\n", "global_defs: {router_id: a}\n"):
        assert [one.code.number for one in read(text).errors] == ["LK0217"]
        loaded = read(text, allow_empty=True)
        assert loaded.diagnostics == ()
        assert loaded.config is not None
        assert loaded.config.virtual_servers == ()


def test_a_deep_file_does_not_reach_the_parser() -> None:
    for text in ("[" * 200_000, "- " * 200_000, "{a: " * 200_000):
        assert [one.code.number for one in read(text).diagnostics] == ["LK0113"]


def test_an_alias_that_holds_itself_is_refused() -> None:
    (found,) = read("global_defs: &a\n  x: *a\n").diagnostics
    assert found.message == "an alias that holds itself"


@given(
    st.lists(
        st.sampled_from(
            [
                "virtual_servers",
                "global_defs",
                "local_address_groups",
                "virtual_server_groups",
                "real_servers",
                "include",
                "address",
                "192.0.2.1",
                ":",
                " ",
                "\n",
                "- ",
                "[",
                "]",
                "{",
                "}",
                ",",
                "&a ",
                "*a",
                "'",
                '"',
                "|",
                ">",
                "#",
                "?",
                "\r",
                "\u2028",
                "!!int ",
                "~",
                "\t",
            ]
        ),
        max_size=40,
    ).map("".join)
)
def test_whatever_the_text_there_is_an_answer(text: str) -> None:
    loaded = read(text)
    assert (loaded.config is None) == bool(loaded.errors)
    assert all(one.span.line >= 1 and one.span.column >= 1 for one in loaded.diagnostics)


def test_what_is_not_served_is_known_in_yaml_as_well() -> None:
    loaded = read(
        "instance: a\nlinkbeat_interfaces: [eth0 MII]\nbfd_instance:\n  - {name: b, min_rx: 50}\n"
        "deny_address_group: {bad: [192.0.2.1-9]}\nglobal_defs: {snmp_socket: x, umask: '022'}\n",
        allow_empty=True,
    )
    assert loaded.config is not None, loaded.errors
    told = {one.message.split("'")[1] for one in loaded.diagnostics}
    assert told == {
        "instance", "linkbeat_interfaces", "bfd_instance", "deny_address_group", "snmp_socket",
        "umask",
    }  # fmt: skip
    assert {one.code.number for one in loaded.diagnostics} == {"LK0203"}
    (wrong,) = read("bfd_instance:\n  - {name: b, min_rx: 0}\n", allow_empty=True).errors
    assert (wrong.code.number, wrong.span.text) == ("LK0207", "0")
