"""Completion for bash, zsh and fish, from the command line and the codes of diagnostics."""

import shlex
from collections.abc import Iterator
from typing import Final

from lvskeeper.cli.arguments import Argument, Command, Takes

_MADE: Final = "# Made by: python -m lvskeeper.cli.generated"


def _codes() -> str:
    from lvskeeper.config.codes import Code  # noqa: PLC0415 - seldom needed

    return " ".join(code.number for code in Code)


def _first_sentence(text: str) -> str:
    return text.partition(";")[0].partition(" (default")[0].rstrip(".")


def bash(root: Command) -> str:
    """Return the completion for bash; it needs no other file."""
    paths = [" ".join(one.path) for one in root.walk() if one.path]
    lines = [
        _MADE,
        "_lvskeeper() {",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} path= word",
        f"    local codes='{_codes()}'",
        "    COMPREPLY=()",
        "    # --option=value comes as three words",
        "    if [[ $cur == = ]]; then",
        "        cur=",
        "    elif [[ $prev == = ]]; then",
        "        prev=${COMP_WORDS[COMP_CWORD - 2]}",
        "    fi",
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '        case "${path:+$path }$word" in',
        f"            {' | '.join(map(shlex.quote, paths))}) path=${{path:+$path }}$word ;;",
        "        esac",
        "    done",
        '    case "$path:$prev" in',
    ]
    for one in root.walk():
        for option in one.options:
            if option.takes is not Takes.NOTHING:
                names = " | ".join(f"'{' '.join(one.path)}:{flag}'" for flag in option.flags)
                lines.append(f"        {names}) {_bash_value(option)}; return ;;")
    lines += ["    esac", '    case "$path" in']
    for one in root.walk():
        flags = " ".join(flag for option in one.options for flag in option.flags)
        offers = [_bash_value(argument) for argument in one.positionals]
        if one.commands:
            names = " ".join(command.path[-1] for command in one.commands)
            offers = [f"COMPREPLY=($(compgen -W '{names}' -- \"$cur\"))"]
        plain = next((offer for offer in offers if offer != ":"), ":")
        lines += [
            f"        '{' '.join(one.path)}')",
            "            if [[ $cur == -* ]]; then",
            f"                COMPREPLY=($(compgen -W '{flags}' -- \"$cur\"))",
            "            else",
            f"                {plain}",
            "            fi",
            "            ;;",
        ]
    lines += ["    esac", "}", "complete -F _lvskeeper lvskeeper"]
    return "\n".join(lines) + "\n"


def _bash_value(one: Argument) -> str:
    match one.takes:
        case Takes.FILE:
            return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))'
        case Takes.FOLDER:
            return 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur"))'
        case Takes.WORD:
            return f"COMPREPLY=($(compgen -W '{' '.join(one.words)}' -- \"$cur\"))"
        case Takes.CODE:
            return 'COMPREPLY=($(compgen -W "$codes" -- "$cur"))'
        case Takes.NOTHING | Takes.OTHER:
            return ":"


def zsh(root: Command) -> str:
    """Return the completion for zsh."""
    lines = ["#compdef lvskeeper", _MADE, ""]
    lines += ["_lvskeeper_codes() {", f"    compadd {_codes()}", "}", ""]
    for one in root.walk():
        lines += [*_zsh_function(one), ""]
    lines.append('_lvskeeper "$@"')
    return "\n".join(lines) + "\n"


def _zsh_function(one: Command) -> Iterator[str]:
    yield f"_lvskeeper{''.join(f'_{part}' for part in one.path)}() {{"
    yield "    local curcontext=$curcontext state line"
    yield "    _arguments -C -s \\"
    for option in one.options:
        yield f"        {_zsh_option(option)} \\"
    if not one.commands:
        for argument in one.positionals:
            star = "*" if argument.many else ""
            shown = _zsh_text(argument.metavar or "value")
            yield f"        {shlex.quote(f'{star}:{shown}:{_zsh_value(argument)}')} \\"
        yield "        && return"
        yield "}"
        return
    yield "        '1:command:->command' '*::argument:->argument' && return"
    yield "    case $state in"
    yield "        command)"
    yield "            local -a commands=("
    for command in one.commands:
        text = f"{command.path[-1]}:{_zsh_text(command.summary)}"
        yield f"                {shlex.quote(text)}"
    yield "            )"
    yield "            _describe command commands"
    yield "            ;;"
    yield "        argument)"
    yield "            case $words[1] in"
    for command in one.commands:
        name = "".join(f"_{part}" for part in command.path)
        yield f"                {command.path[-1]}) _lvskeeper{name} ;;"
    yield "            esac"
    yield "            ;;"
    yield "    esac"
    yield "}"


def _zsh_option(one: Argument) -> str:
    told = f"[{_zsh_text(_first_sentence(one.help))}]"
    many = "*" if one.many else ""
    value = ""
    if one.takes is not Takes.NOTHING:
        value = f":{_zsh_text(one.metavar or 'value')}:{_zsh_value(one)}"
    parts: list[str] = []
    for flag in one.flags:
        equals = "=" if value and flag.startswith("--") else "+" if value else ""
        others = "" if many else f"({' '.join(one.flags)})"
        parts.append(shlex.quote(f"{others}{many}{flag}{equals}{told}{value}"))
    return " ".join(parts)


def _zsh_value(one: Argument) -> str:
    match one.takes:
        case Takes.FILE:
            return "_files"
        case Takes.FOLDER:
            return "_files -/"
        case Takes.WORD:
            return f"({' '.join(one.words)})"
        case Takes.CODE:
            return "_lvskeeper_codes"
        case Takes.NOTHING | Takes.OTHER:
            return " "


def _zsh_text(text: str) -> str:
    for char in "\\:[]":
        text = text.replace(char, f"\\{char}")
    return text


def fish(root: Command) -> str:
    """Return the completion for fish."""
    lines = [_MADE, "complete -c lvskeeper -f", f"set -g __lvskeeper_codes {_codes()}"]
    for one in root.walk():
        when = _fish_condition(one)
        for command in one.commands:
            told = shlex.quote(command.summary)
            lines.append(f"complete -c lvskeeper -n {when} -a {command.path[-1]} -d {told}")
        for option in one.options:
            names = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in option.flags
            )
            told = shlex.quote(_first_sentence(option.help))
            value = _fish_value(option)
            lines.append(f"complete -c lvskeeper -n {when} {names}{value} -d {told}")
        for argument in one.positionals if not one.commands else ():
            # Without an option's name -x and -r say nothing.
            value = _fish_value(argument).removeprefix(" -r").removeprefix(" -x")
            if value:
                lines.append(f"complete -c lvskeeper -n {when}{value}")
    return "\n".join(lines) + "\n"


def _fish_condition(one: Command) -> str:
    seen = [f"__fish_seen_subcommand_from {part}" for part in one.path]
    if one.commands:
        below = " ".join(command.path[-1] for command in one.commands)
        seen.append(f"not __fish_seen_subcommand_from {below}")
    return shlex.quote("; and ".join(seen))


def _fish_value(one: Argument) -> str:
    match one.takes:
        case Takes.NOTHING:
            return ""
        case Takes.FILE:
            return " -r -F"
        case Takes.FOLDER:
            return " -x -a '(__fish_complete_directories)'"
        case Takes.WORD:
            return f" -x -a {shlex.quote(' '.join(one.words))}"
        case Takes.CODE:
            return " -x -a '$__lvskeeper_codes'"
        case Takes.OTHER:
            return " -x"
