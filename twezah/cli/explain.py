"""The command explain: why an invoice earned its points, or what a member's balance consists of."""

from typing import Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import ledger
from twezah.cli.options import Json
from twezah.cli.output import print_json, say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Examples: `twezah explain quickbooks 1042`, `twezah explain member 17`")(
        explain
    )


def explain(
    system: Annotated[
        str,
        typer.Argument(metavar="SYSTEM", help="Key of the billing system, e.g. xero; or: member."),
    ],
    invoice: Annotated[
        str,
        typer.Argument(
            metavar="INVOICE",
            help="The invoice's id or number in that system; or the member's number.",
        ),
    ],
    entry: Annotated[
        int | None, typer.Option(min=1, help="Only this entry of the invoice's chain.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain why an invoice earned its points: every entry, rule by rule, and what did not apply.

    `twezah explain member 17` explains what a member's balance is made of.
    """
    from zoneinfo import ZoneInfo

    from connectors.kit.errors import system_name
    from settings import settings

    with ledger() as dsn:
        explanation = (
            _explain_member(dsn, invoice)
            if system == "member"
            else _explain_invoice(dsn, system_name(system), invoice, entry)
        )
    if explanation is None:
        what = f"member {invoice}" if system == "member" else f"invoice {invoice!r} of {system!r}"
        say(f"There is no {what} in the ledger.")
        raise typer.Exit(FAILED)
    if json:
        print_json(explanation.to_json())
    else:
        print(explanation.to_text(ZoneInfo(settings().timezone)))


def _explain_member(dsn: str, number: str) -> Any:
    from sql.explain_member import explain_member

    if not number.isdecimal() or len(number) > 18:
        raise typer.BadParameter(
            "a member is named by number; `twezah member find` finds it", param_hint="INVOICE"
        )
    return explain_member(dsn, int(number))


def _explain_invoice(dsn: str, system: str, invoice: str, entry: int | None) -> Any:
    from dataclasses import replace

    from connectors.kit.errors import system_name
    from sql.explain import explain as explain_invoice

    explanation = explain_invoice(dsn, system_name(system), invoice)
    if explanation is None or entry is None:
        return explanation
    chosen = tuple(row for row in explanation.entries if row.entry_no == entry)
    if not chosen:
        say(f"{system} {invoice} has no entry {entry}; it has {len(explanation.entries)}.")
        raise typer.Exit(FAILED)
    return replace(explanation, entries=chosen, now=None)
