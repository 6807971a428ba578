"""Completion protocols of bash, zsh and fish: click's classes, adapted to ids.

Ids may contain ``:`` and ``@``, at which bash splits words; ``--option=value`` is one word in zsh
and fish. Errors are ignored, because they would disturb the line being typed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar

from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

_BASH = """\
# Completion of %(prog_name)s for bash; made by: %(prog_name)s completion bash
%(complete_func)s() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file)
                # The shell's own file completion handles blanks, ~ and all scripts.
                compopt -o default 2>/dev/null ||
                    mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}") ;;
        esac
    done < <(
        COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
            %(complete_var)s=bash_complete "${1/#\\~/$HOME}" 2>/dev/null
    )
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null ||
    complete -F %(complete_func)s %(prog_name)s
"""


class _Shell(ShellComplete):
    """Common parts of all three shells."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Completions as click's; of ``--option=value`` the whole word."""
        found = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not (equals and option.startswith("-")):
            return found
        return [
            CompletionItem(f"{option}={item.value}", item.type, item.help)
            if item.type == "plain"
            else item
            for item in found
        ]

    def complete(self) -> str:
        """The answer; empty if that fails."""
        try:
            return super().complete()
        except Exception:  # noqa: BLE001 - a traceback would disturb the prompt
            return ""


@add_completion_class
class Bash(_Shell):
    """Bash splits words at more than blanks, and replaces only the last part."""

    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the cursor, split as the shell does when it runs them."""
        text = os.environ["COMP_LINE"]  # up to the cursor
        words = split_arg_string(text)
        if not text or (text[-1].isspace() and not text.endswith("\\ ")):
            words.append("")
        return words[1:-1], words[-1]

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Values without the part before the last break of the word, which bash keeps."""
        found = super().get_completions(args, incomplete)
        kept = (
            0
            if _is_quoted(os.environ["COMP_LINE"])
            else _after_break(incomplete, os.environ.get("COMP_BREAKS", ""))
        )
        return [
            CompletionItem(item.value[kept:], item.type) if item.type == "plain" else item
            for item in found
        ]

    def format_completion(self, item: CompletionItem[str]) -> str:
        """``kind,value``."""
        return f"{item.type},{item.value}"


def _after_break(word: str, breaks: str) -> int:
    """Start of the part of ``word`` that bash replaces: after a break, but including ``@``."""
    last = max((word.rfind(sign) for sign in breaks if sign in ":@="), default=-1)
    return last if word[last : last + 1] == "@" else last + 1


def _is_quoted(line: str) -> bool:
    """Whether the cursor is within quotes."""
    quote = ""
    for sign in line:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
    return bool(quote)


@add_completion_class
class Zsh(_Shell, ZshComplete):
    """Zsh, with the help beside each value."""


@add_completion_class
class Fish(_Shell, FishComplete):
    """Fish, with the help beside each value, which may hold commas."""

    source_template: ClassVar[str] = FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","'
    )


def script(shell: str, prog_name: str, complete_var: str) -> str:
    """The script that registers the completion in a shell."""
    import click

    kinds: Sequence[type[ShellComplete]] = (Bash, Zsh, Fish)
    kind = next(kind for kind in kinds if kind.name == shell)
    return kind(click.Command(prog_name), {}, prog_name, complete_var).source()
