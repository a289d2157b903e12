"""Where keepalived and lvskeeper judge the value of a keyword otherwise, by its kind, and why."""

from dataclasses import dataclass
from typing import Final, final

from lvskeeper.config.value_type import Kind


@final
@dataclass(frozen=True, slots=True)
class Lenient:
    """Values of a kind that keepalived takes without a word, and lvskeeper refuses."""

    kind: Kind
    what: str
    said: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class Complaint:
    """What keepalived says of values that lvskeeper takes."""

    begins: tuple[str, ...]
    """Parts of its messages."""
    what: str
    said: str
    reason: str


LENIENT: Final = (
    Lenient(Kind.FLAG, "a word behind a flag that is no yes or no", "passes over it, and switches "
            "the flag on", "an error: `nopreempt FALSE` would set it"),
    Lenient(Kind.TEXT, "an empty text, a host name with blanks, a device that cannot be",
            "takes them as they are", "an error: nothing could come of them"),
    Lenient(Kind.WORDS, "words in a form that has no meaning", "passes over what it does not know "
            "of some keywords, and takes the rest", "an error with the form"),
    Lenient(Kind.COMMAND, "a command that is empty, unquoted with arguments, or for a shell",
            "takes an argument for the name of a user, and drops the script with a line in its log",
            "an error: the script would never run"),
    Lenient(Kind.INTEGER, "a number with something behind it, or out of its bounds",
            "reads the digits that it finds, of some keywords", "an error"),
    Lenient(Kind.PATH, "a path that does not begin with `/`", "takes it from where it happens to "
            "run", "an error, so that it means the same everywhere"),
    Lenient(Kind.CHOICE, "a word that is none of the choices", "leaves it to the kernel",
            "an error that names the choices"),
    Lenient(Kind.ADDRESS, "a prefix length behind the address of a check", "passes over it",
            "an error"),
)  # fmt: skip

COMPLAINTS: Final = (
    Complaint(("outside range [",), "a longer time, a weight of 0, no retry, more processors",
              "has narrower bounds", "taken: there is no harm in them"),
    Complaint(("invalid number '0.",), "a time with decimals", "2.2.7 has whole seconds for some "
              "keywords; later ones take decimals", "taken for every time in seconds"),
    Complaint(("deprecated", "iptables not supported"), "an old name",
              "a message, and status 5 for it", "a warning; notes say what has no effect here"),
    Complaint(
        ("does not match address family", "conflicts with server", "before or without sorry_s",
         "without sorry_server", "only applies to sh", "exceeds total weight", "without unicast",
         "has no real servers", "will always fail", "- wi"),
        "what does not go with the rest of the file", "a message, and status 5 for it",
        "judged too, as a warning or an error with its own code",
    ),
    Complaint(("doesn't exist", "Unknown interface", "not found", "not configured"),
              "what is named and not there", "a message, and status 5 for it",
              "judged too: an error of its own code; interfaces by `check`"),
    Complaint(("Unknown keyword 'vrrp_ipsets'",), "`vrrp_ipsets`",
              "known to builds with ipsets only", "passed over with a note"),
    Complaint(("Invalid smtp server",), "the name of a mail server",
              "looks it up while it reads the file", "looked up when there is a mail to send"),
    Complaint(("already specified",), "two words of `use_ipvlan`",
              "2.2.7 takes the mode for the name of a device", "taken as 2.4 has it"),
    Complaint(("Duplicate include_check", "Ignoring", "used before"), "what is asked for twice",
              "a message", "taken"),
)  # fmt: skip


def rows() -> list[str]:
    """Return the rows of the table in docs/keepalived-language.md."""
    return [f"| {one.what} | {one.said} | {one.reason} |" for one in (*LENIENT, *COMPLAINTS)]
