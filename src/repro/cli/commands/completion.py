"""Print a script that completes commands and their options in the shell: eval "$(repro completion bash)"."""

from __future__ import annotations

import argparse

_BASH = """\
_repro() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command=${{COMP_WORDS[1]}} words
    if [ "$COMP_CWORD" = 1 ]; then
        words="{commands} --help --version"
    else
        case "$command" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _repro repro"""

_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"))


def run(options: argparse.Namespace) -> int:
    print((_ZSH if options.shell == "zsh" else "") + script())
    return 0


def script() -> str:
    """The completion function of bash, which zsh can load too."""
    from repro.cli.registry import COMMANDS

    shown = [command for command in COMMANDS if command.usage]
    cases = [f'            {command.name}) words="{" ".join(_words(command.parser()))}" ;;' for command in shown]
    return _BASH.format(commands=" ".join(command.name for command in shown), cases="\n".join(cases))


def _words(parser: argparse.ArgumentParser) -> list[str]:
    """Long options, and the choices of positional arguments."""
    words: list[str] = []
    for action in parser._actions:
        if action.option_strings:
            words += [option for option in action.option_strings if option.startswith("--")]
        else:
            words += map(str, action.choices or ())
    return [*words, "--config-dir", "--plugin"]
