"""Reads a file of rules that a command is given."""

import sys
from pathlib import Path

import typer


def read_rules_file(file: str) -> str:
    """The text of a file of rules."""
    from loyalty.authoring import CHARACTERS_MAX

    try:
        if file == "-":
            return sys.stdin.read(CHARACTERS_MAX + 1)
        with Path(file).open(encoding="utf-8-sig") as opened:
            return opened.read(CHARACTERS_MAX + 1)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{file} is not UTF-8 text", param_hint="FILE") from None
