"""Commands about points: adjust, void, reverse, value, try."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, refusals
from twezah.cli.options import Json, Who, Why, moment_utc
from twezah.cli.output import print_json, say
from twezah.cli.rules_file import read_rules_file

points = typer.Typer(no_args_is_help=True, help="Give, take and compute points.")

Key = Annotated[
    str,
    typer.Option(
        "--key", help="Safe to repeat: the same key never counts twice. A new one if not given."
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    # A negative number is an argument here, not an option.
    negative = {"ignore_unknown_options": True}
    example = (
        "Example: `twezah points adjust 17 -500 --reason 'Counted twice in May' --author 'Ana, "
        "support'`"
    )
    points.command(context_settings=negative, epilog=example)(adjust)
    points.command(
        epilog="Example: `twezah points void 3 --reason 'Wrong member' --author 'Ana, support'`"
    )(void)
    points.command(
        epilog="Example: `twezah points reverse 12 --reason 'Not in stock' --author 'Ana, support'`"
    )(reverse)
    example = (
        "Example: `twezah points value AOA 0.10 --from 2027-01-01 --reason 'Budget 2027' --author "
        "'Rui, finance'`"
    )
    points.command(epilog=example)(value)
    points.command("try", epilog="Example: `twezah points try basket.json --rules points.toml`")(
        try_basket
    )
    app.add_typer(points, name="points")


def adjust(
    member: Annotated[int, typer.Argument(metavar="MEMBER", help="The member's number.")],
    amount: Annotated[
        int, typer.Argument(metavar="POINTS", help="What to add; negative: to take.")
    ],
    reason: Why,
    author: Who,
    key: Key = "",
    confirm: Annotated[
        int,
        typer.Option(help="Confirm this many points, where they exceed the limit for changes."),
    ] = 0,
    json: Json = False,
) -> None:
    """Give a member points, or take some, by hand.

    The adjustment stays in the ledger for good, with its reason and author; `twezah points void`
    takes it back.
    """
    from loyalty.corrections import Adjustment
    from sql import corrections
    from sql.db import connect
    from tasks.program.change_limit import check_confirmed

    with refusals():
        check_confirmed(amount, confirm)
        wanted = Adjustment(
            member_id=member, points=amount, reason=reason, author=author, key=key or uuid4().hex
        )
        with ledger() as dsn, connect(dsn) as connection:
            result = corrections.adjust(connection, wanted, command_id("points adjust"))
            connection.commit()
    _print(result, json=json)


def void(
    adjustment: Annotated[
        int, typer.Argument(metavar="ADJUSTMENT", help="The adjustment's number.")
    ],
    reason: Why,
    author: Who,
    key: Key = "",
    json: Json = False,
) -> None:
    """Take an adjustment back, by adding its opposite. Nothing is deleted."""
    from loyalty.corrections import Decision
    from sql import corrections
    from sql.db import connect

    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn, connect(dsn) as connection:
            run_id = command_id("points void")
            result = corrections.void_adjustment(
                connection, adjustment, decision, key or uuid4().hex, run_id
            )
            connection.commit()
    _print(result, json=json)


def reverse(
    redemption: Annotated[
        int, typer.Argument(metavar="REDEMPTION", help="The redemption's number.")
    ],
    reason: Why,
    author: Who,
    key: Key = "",
    json: Json = False,
) -> None:
    """Give points back that a member spent, all of them, once. Nothing is deleted.

    They expire when they would have without it.
    """
    from loyalty.corrections import Decision
    from sql import redemptions
    from sql.actor import acting_as
    from sql.db import connect

    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn, acting_as(decision.author), connect(dsn) as connection:
            member = redemptions.find(connection, redemption).member_id
            result = redemptions.reverse(
                connection, member, redemption, key or uuid4().hex, decision.reason,
                command_id("points reverse"),
            )  # fmt: skip
            connection.commit()
    _print(result, json=json)


def value(
    currency: Annotated[str, typer.Argument(metavar="CURRENCY", help="ISO 4217, e.g. AOA.")],
    value_per_point: Annotated[
        str, typer.Argument(metavar="VALUE", help="Worth of one point in whole units, e.g. 0.10.")
    ],
    reason: Why,
    author: Who,
    valid_from: Annotated[
        str, typer.Option("--from", help="In force from this date or time on. Now if not given.")
    ] = "",
    json: Json = False,
) -> None:
    """Enter what one point is worth in a currency. For reports only: no balance depends on it.

    It is in force until the next one of the currency. For the same instant the last entered counts.
    """
    from loyalty.redemptions import PointValue
    from sql.db import connect
    from sql.point_values import enter

    now = datetime.now(UTC).isoformat()
    with refusals():
        entered = PointValue.model_validate(
            {
                "currency": currency, "value_per_point": value_per_point, "reason": reason,
                "valid_from": moment_utc(valid_from, "--from") if valid_from else now,
                "author": author,
            }
        )  # fmt: skip
        with ledger() as dsn, connect(dsn) as connection:
            enter(connection, entered, command_id("points value"))
            connection.commit()
    if json:
        print_json(entered.model_dump())
    else:
        print(entered.to_text())


def _print(result: Any, *, json: bool) -> None:
    if json:
        print_json(result)
        return
    print(result.to_text())


def try_basket(
    file: Annotated[
        typer.FileText,
        typer.Argument(metavar="FILE", help="A basket as JSON, or a list of them; - is stdin."),
    ],
    rules: Annotated[
        str,
        typer.Option(metavar="FILE", help="Also with these rules (points.toml), not stored yet."),
    ] = "",
    json: Json = False,
) -> None:
    """The points that a basket would get, rule by rule. Nothing is stored.

    A basket has `date`, `currency`, `lines` (`sku`, `name`, `quantity`, `unit_price` or `amount`)
    or `total`, and, if it matters, `tier`, `system`, `account`, `kind`, `refunded`, `subtotal`. It
    is the first purchase of a new member, with budgets unused; unless `history` lists baskets
    before it, or `member` names a stored member. `referred_at` (and `referrer`) add a referral. In
    a list with a credit note each basket has those before it as its history; `returns` may name the
    `id` of the basket that comes back.
    """
    from loyalty.authoring import BadRulesError
    from loyalty.basket import BadBasketsError, read_baskets
    from sql.db import connect
    from tasks.program.basket import explain_baskets

    try:
        many = read_baskets(file.read(5_000_000))
    except BadBasketsError as error:
        raise typer.BadParameter("; ".join(error.problems[:20]), param_hint="FILE") from None
    try:
        with refusals(), ledger() as dsn, connect(dsn) as connection:
            results = explain_baskets(connection, many, read_rules_file(rules) if rules else None)
    except BadRulesError as error:
        say("\n".join(error.problems))
        raise typer.Exit(FAILED) from None
    if json:
        print_json([result.to_json() for result in results])
    else:
        print("\n\n".join("\n".join(result.to_lines()) for result in results))
    if any(result.due is None for result in results):
        raise typer.Exit(FAILED)
