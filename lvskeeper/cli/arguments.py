"""What the command line takes, read off argparse's parser: for the manual and for completion."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, final


@final
class Takes(Enum):
    """What a value is, as far as a shell can offer some."""

    NOTHING = "no value"
    FILE = "a file"
    FOLDER = "a folder"
    WORD = "one of some words"
    CODE = "a code of a diagnostic"
    OTHER = "anything"


_BY_METAVAR: Final = {
    "FILE": Takes.FILE, "PATH": Takes.FILE, "SOCKET": Takes.FILE, "LOG": Takes.FILE,
    "DIR": Takes.FOLDER, "CODE": Takes.CODE,
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or a positional argument where it has no flags."""

    flags: tuple[str, ...]
    metavar: str
    takes: Takes
    words: tuple[str, ...]
    help: str
    many: bool
    needed: bool


@final
@dataclass(frozen=True, slots=True)
class Command:
    """A command with its arguments and those below it."""

    path: tuple[str, ...]
    summary: str
    description: str
    epilog: str
    arguments: tuple[Argument, ...]
    commands: "tuple[Command, ...]"

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that have flags."""
        return tuple(one for one in self.arguments if one.flags)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """The arguments that have none."""
        return tuple(one for one in self.arguments if not one.flags)

    def walk(self) -> Iterator["Command"]:
        """Yield this command and all below it."""
        yield self
        for one in self.commands:
            yield from one.walk()


def command_of(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = (), summary: str = ""
) -> Command:
    """Return what *parser* takes."""
    arguments: list[Argument] = []
    commands: list[Command] = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            named = action._choices_actions  # noqa: SLF001 - as above
            helps = {one.dest: one.help or "" for one in named}
            commands += [
                command_of(one, (*path, name), helps.get(name, ""))
                for name, one in action.choices.items()
            ]
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(action, parser))
    return Command(
        path,
        summary,
        parser.description or "",
        parser.epilog or "",
        tuple(arguments),
        tuple(commands),
    )


def _argument(action: argparse.Action, parser: argparse.ArgumentParser) -> Argument:
    words = tuple(map(str, action.choices or ()))
    metavar = action.metavar or ("" if words else action.dest.upper().replace("_", "-"))
    assert isinstance(metavar, str)
    again = argparse._AppendAction  # noqa: SLF001 - as above
    many = action.nargs in {"+", "*"} or isinstance(action, again)
    if action.nargs == 0:
        takes = Takes.NOTHING
    elif words:
        takes = Takes.WORD
    else:
        by_type = Takes.FILE if action.type is Path else Takes.OTHER
        takes = _BY_METAVAR.get(metavar.partition(" ")[0], by_type)
    values = {**vars(action), "prog": parser.prog}
    told = (action.help or "") % values
    needed = action.required and action.nargs not in {"?", "*"}
    flags = tuple(action.option_strings)
    return Argument(flags, metavar, takes, words, told, many, needed)
