"""From one form of the configuration to the other, by way of the directives.

Includes, definitions, conditions and sequences are resolved: the other form has no word for most
of them. What is written is read again, and has to come to the same model.
"""

import posixpath
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, final

from lvskeeper.config.comments import MADE, remarks_of
from lvskeeper.config.load import Loaded, load
from lvskeeper.config.model import Config
from lvskeeper.config.source import Files, Source
from lvskeeper.config.tree import Directive
from lvskeeper.config.write_text import write_text

FORMS: Final = ("keepalived", "yaml")
SUFFIXES: Final = (".yaml", ".yml")

_RESOLVED: Final = re.compile(r"\s*(?:\$[A-Za-z_]\w*=|@\S|~SEQ|~LST)")


@final
class ConvertError(Exception):
    """The result does not say what the file says: a bug."""


def form_of(path: str) -> str:
    """Return the form that a file has by its name."""
    return "yaml" if path.endswith(SUFFIXES) else "keepalived"


@final
class Snapshot:
    """The blocks of a tree before it is judged: with ``--compat`` that takes lines out of it."""

    def __init__(self, directives: list[Directive]) -> None:
        self._lists: list[tuple[list[Directive], list[Directive]]] = []
        self._keep(directives)

    def _keep(self, directives: list[Directive]) -> None:
        self._lists.append((directives, [*directives]))
        for one in directives:
            if one.children:
                self._keep(one.children)

    def restore(self) -> set[int]:
        """Put back what was taken out; return the identities of that."""
        gone: set[int] = set()
        for now, before in self._lists:
            gone |= {id(one) for one in before} - {id(one) for one in now}
            now[:] = before
        return gone


def convert(
    path: str,
    directives: Sequence[Directive],
    form: str,
    left_out: Collection[int] = (),
) -> str:
    """Return the configuration that was read from *path* in the other *form*.

    Directives with the identities *left_out* become comments. Raises
    :class:`lvskeeper.config.write_text.WriteError` for what the form cannot hold.
    """
    remarks = remarks_of(directives)
    remarks.left_out.update(left_out)
    sources = _sources(directives)
    _move_key_files(directives, posixpath.dirname(path))
    if form == "yaml":
        from lvskeeper.config.write_yaml import write_yaml  # noqa: PLC0415 - yaml costs 30 ms

        text = write_yaml(directives, remarks)
    else:
        text = write_text(directives, remarks)
    return "".join(f"#{line}\n" for line in _header(path, sources)) + "\n" + text


def verify(
    path: str, text: str, form: str, config: Config, files: Files, *, compat: bool = False
) -> None:
    """Read *text* as if it stood beside *path*; raise :class:`ConvertError` if it says else."""
    name = f"{path}.converted{'.yaml' if form == 'yaml' else '.conf'}"
    again: Loaded = load(name, _Overlay(files, name, text), allow_empty=True, compat=compat)
    read = again.config
    if compat and read is not None:
        from lvskeeper.config.mend import mend  # noqa: PLC0415 - seldom needed

        # Without an error nothing is mended: what is named twice is then twice in the model.
        read, config = mend(read), mend(config)
    if read != config:
        first = again.errors[0] if again.errors else "the models differ"
        raise ConvertError(f"what was made of {path} does not read the same: {first}")


@final
class _Overlay:
    """Files, and one more that is in memory only."""

    def __init__(self, files: Files, name: str, text: str) -> None:
        self._files = files
        self._name = name
        self._text = text
        self.glob = files.glob
        self.exposed = files.exposed
        self.check_include = files.check_include

    def read_text(self, path: str) -> str:
        return self._text if path == self._name else self._files.read_text(path)


def _sources(directives: Iterable[Directive]) -> list[Source]:
    """Return the files that directives were read from, in the order of reading."""
    found: dict[int, Source] = {}
    waiting = list(directives)
    while waiting:
        one = waiting.pop()
        found.setdefault(one.source.order, one.source)
        if one.source.included_from is not None:
            outer = one.source.included_from.source
            found.setdefault(outer.order, outer)
        waiting += one.children or ()
    return [found[order] for order in sorted(found)]


def _header(path: str, sources: Sequence[Source]) -> list[str]:
    names = list(dict.fromkeys(posixpath.basename(source.path) for source in sources))
    first, *others = names or [posixpath.basename(path)]
    lines = [f"{MADE} from {first}."]
    if others:
        lines.append(f"{MADE}: includes are resolved: {', '.join(others)}.")
    if any(_RESOLVED.match(line) for one in sources if not one.is_yaml for line in one.lines):
        lines.append(f"{MADE}: definitions, conditions and sequences are carried out.")
    return [re.sub(r"[^ -~\u00a0-\ud7ff]", "?", line) for line in lines]


def _move_key_files(directives: Iterable[Directive], folder: str) -> None:
    """Let files of keys that count from the folder of an included file count from *folder*."""
    for one in directives:
        if one.children is not None:
            _move_key_files(one.children, folder)
            continue
        match one.words:
            case ["key", _, value] if value.startswith("file:"):
                place = posixpath.dirname(one.source.path)
                name = value.removeprefix("file:")
                if place != folder and not posixpath.isabs(name):
                    whole = posixpath.join(place, name)
                    short = whole.removeprefix(f"{folder}/") if folder else whole
                    one.words = [*one.words[:2], f"file:{short}"]
