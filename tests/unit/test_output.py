"""Tables for people."""

from dataclasses import dataclass

import pytest

from twezah.cli.output import print_table


@dataclass(frozen=True)
class Row:
    system: str
    points: int


def test_a_system_is_written_as_commands_and_blocks_have_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table("Ledger", [Row("sage_intacct", 1)])
    shown = capsys.readouterr().out
    assert "sage-intacct" in shown
    assert "sage_intacct" not in shown
