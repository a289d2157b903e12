"""The keyword that says who may use the control socket."""

import re
from collections.abc import Sequence
from typing import Final

from lvskeeper.config.bad import BadValueError
from lvskeeper.config.keyword import Keyword
from lvskeeper.config.value_type import Kind, typed

_MODE: Final = re.compile(r"\A0?[0-7]{3}\Z", re.ASCII)
_GROUP: Final = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.-]*\$?\Z", re.ASCII)


@typed(Kind.WORDS, ("0600", "0660 adm", "660 lvs-admins"), ("", "rw", "0666", "0680", "0660 1 2"))
def control_socket(words: Sequence[str]) -> tuple[int, str]:
    """Read ``control_socket MODE [GROUP]``."""
    if not _MODE.match(words[1]):
        raise BadValueError(1, f"'{words[1]}' is not an octal mode such as 0660")
    mode = int(words[1], 8)
    if mode & 0o007:
        raise BadValueError(
            1, f"mode {words[1]} lets everybody drain and reload", "name a group: 0660 GROUP"
        )
    group = words[2] if len(words) > 2 else ""
    if group and not _GROUP.match(group):
        raise BadValueError(2, f"'{group}' is not the name of a group")
    return mode, group


CONTROL_SOCKET: Final = Keyword(
    "control_socket", "MODE [GROUP]",
    "Who may ask and order through the control socket: octal mode of `control.sock` in the runtime "
    "directory, and its group. Whoever may write to it may drain, reload and read all that the "
    "daemon shows.",
    "L", control_socket, least=2, most=3, default="0600, which is the daemon's user alone",
)  # fmt: skip
