"""Commands about members: find, register, tier, referral, merge, unmerge, phone, erase."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.ledger import command_id, ledger, post_waiting, refusals
from twezah.cli.options import Json, Who, Why
from twezah.cli.output import print_json, say

# For annotations only: they import the database driver, which no other command needs at start.
if TYPE_CHECKING:
    from loyalty.corrections import Decision
    from sql.db import DbConnection

member = typer.Typer(
    no_args_is_help=True,
    help="Members: find, register, merge two; tiers, referrals and phones.",
)
#: Times that commands read, all of them UTC.
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]
From = Annotated[
    datetime | None,
    typer.Option(formats=FORMATS, help="Sales from here on; UTC. Now, if left out."),
]

Number = Annotated[int, typer.Argument(metavar="MEMBER", help="The member's number.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    member.command(epilog="Example: `twezah member find --json`, and then type the phone")(find)
    member.command("register", epilog="Example: `twezah member register`, and then type the phone")(
        register_phone
    )
    member.command(
        epilog="Example: `twezah member tier 17 gold --reason 'Invited' --author 'Ana, support'`"
    )(tier)
    member.command(
        epilog=("Example: `twezah member referral 17 4 --reason 'Said so' --author 'Ana, support'`")
    )(referral)
    member.command(
        epilog=(
            "Example: `twezah member merge 17 4 --reason 'Same customer' --author 'Ana, support'`"
        )
    )(merge)
    member.command(
        epilog="Example: `twezah member unmerge 17 --reason 'Two people' --author 'Ana, support'`"
    )(unmerge)
    example = (
        "Example: `twezah member phone 17 --reason 'New number' --author 'Ana, support'`, and then "
        "type the phone"
    )
    member.command(epilog=example)(phone)
    member.command(
        epilog=(
            "Example: `twezah member erase 17 --reason 'Request 12' --author 'Ana, support' "
            "--apply`"
        )
    )(erase)
    app.add_typer(member, name="member")


def find(json: Json = False) -> None:
    """The number of the member with a phone.

    The phone is asked for, or read from stdin: it must not be an argument.
    """
    from sql import corrections
    from sql.db import connect

    wanted = _ask_phone()
    with ledger() as dsn, connect(dsn) as connection:
        result = corrections.member_of_phone(connection, wanted)
    if result is None:
        say("No member has that phone.")
        raise typer.Exit(FAILED)
    if json:
        print_json(result)
    elif result.owner_id == result.member_id:
        print(f"member {result.member_id}")
    else:
        print(f"member {result.member_id}, merged into {result.owner_id}")


class Result(Protocol):
    """What a decision came to."""

    def to_text(self) -> str:
        """One line."""


def enter(
    what: str,
    reason: str,
    author: str,
    act: "Callable[[DbConnection, Decision, str], Result]",
    *,
    json: bool,
    post: bool = True,
) -> None:
    """Enters a decision, posts what is due then, and says what it came to.

    `post` False: what is due is left to the next award step.
    """
    from loyalty.corrections import Decision
    from sql.db import connect

    run_id = command_id(f"member {what}")
    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger() as dsn:
            with connect(dsn) as connection:
                result = act(connection, decision, run_id)
                connection.commit()
            if post:
                post_waiting(dsn, run_id)
    if json:
        print_json(result)
    else:
        print(result.to_text())


def register_phone(json: Json = False) -> None:
    """Register a member before the first sale; says the number of whoever has the phone already.

    The phone is asked for, or read from stdin: it must not be an argument.
    """
    from sql import members
    from sql.db import connect

    wanted = _ask_phone()
    with ledger() as dsn, connect(dsn) as connection:
        result = members.register(connection, wanted, command_id("member register"))
        connection.commit()
    if json:
        print_json(result)
    else:
        print(result.to_text())


def tier(
    member_id: Number,
    reason: Why,
    author: Who,
    name: Annotated[
        str, typer.Argument(metavar="[TIER]", help="E.g. gold. Left out: end the tier that is set.")
    ] = "",
    valid_from: From = None,
    json: Json = False,
) -> None:
    """Set a member's tier from an instant on, or end the one that is set.

    Sales since then are computed again. To correct a tier, name its own instant.
    """
    from sql import members

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return members.set_tier(
            connection, member_id, name or None, utc(valid_from), decision, run_id
        )

    enter("tier", reason, author, act, json=json)


def referral(
    member_id: Number,
    reason: Why,
    author: Who,
    referrer_id: Annotated[
        int | None,
        typer.Argument(metavar="[REFERRER]", help="Who referred them. Left out: nobody did."),
    ] = None,
    referred_at: From = None,
    json: Json = False,
) -> None:
    """Enter who referred a member, correct it, or withdraw it.

    Rewards that another referrer was given are taken back. Referrals in a circle give nothing.
    """
    from sql import members

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return members.set_referral(
            connection, member_id, referrer_id, utc(referred_at), decision, run_id
        )

    enter("referral", reason, author, act, json=json)


def utc(moment: datetime | None) -> datetime | None:
    """A time of the command line, which is UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def merge(
    member_id: Number,
    into: Annotated[
        int, typer.Argument(metavar="INTO", help="The member who earns for both from now on.")
    ],
    reason: Why,
    author: Who,
    tiers: Annotated[
        Literal["better", "into"],
        typer.Option(help="Tiers that were set: the better one of both, or those of INTO alone."),
    ] = "better",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    json: Json = False,
) -> None:
    """Merge two members who are one customer: MEMBER's points become INTO's.

    This is for all that MEMBER earned and will earn. The sales stay as they are; the points move by
    entries of their own. `twezah member unmerge` takes it back.
    """
    from sql import corrections, merge_preview

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        change = merge_preview.preview if dry_run else corrections.merge
        result: Result = change(connection, member_id, into, decision, run_id, tiers=tiers)
        return result

    enter("merge", reason, author, act, json=json)


def unmerge(member_id: Number, reason: Why, author: Who, json: Json = False) -> None:
    """Take a merge back: everybody has the points they would have without it."""
    from sql import corrections

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return corrections.unmerge(connection, member_id, decision, run_id)

    enter("unmerge", reason, author, act, json=json)


def phone(
    member_id: Number,
    reason: Why,
    author: Who,
    give_up_former: Annotated[
        bool,
        typer.Option(
            "--give-up-former",
            help="Sales under the former number are a new customer's from now on.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Give a member another phone. It is asked for, or read from stdin: it must not be an argument.

    Billing systems go on naming the former number for a while; sales under it still count here,
    unless it is given up.
    """
    from sql import corrections

    wanted = _ask_phone()

    def act(connection: "DbConnection", decision: "Decision", run_id: str) -> Result:
        return corrections.change_phone(
            connection, member_id, wanted, decision, run_id, keep_former=not give_up_former
        )

    enter("phone", reason, author, act, json=json)


def erase(
    member_id: Number,
    reason: Why,
    author: Who,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it. Without, only say what would be removed.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a member's personal data: phone, and what stored records say of them.

    Sales and points stay; it cannot be undone.

    A sale that comes later under that phone makes a new member. Remove the customer at the billing
    system first. What cannot be removed here: docs/audit.md.
    """
    from loyalty.corrections import Decision
    from settings import settings
    from tasks.erase import erase_everywhere

    run_id = command_id("member erase")
    with refusals():
        decision = Decision(reason=reason, author=author)
        with ledger():
            result = erase_everywhere(settings(), member_id, decision, run_id, dry_run=not apply)
    if json:
        print_json(result)
    else:
        print(result.to_text())


def ask(what: str) -> str:
    """What must be no argument, from the terminal or from the next line of stdin."""
    if sys.stdin.isatty():
        return str(typer.prompt(what, err=True))
    return sys.stdin.readline(100).strip()


def _ask_phone() -> str:
    """The phone in E.164, from the terminal or from the first line of stdin.

    A phone on the command line would stay in the shell's history.
    """
    from connectors.kit.mapping.parse import dialled
    from settings import settings

    number = dialled(ask("Phone"), settings().region)
    if number is None:
        raise typer.BadParameter(
            "that is not a phone number as billing systems write it", param_hint="stdin"
        )
    return number
