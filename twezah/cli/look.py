"""Commands that answer questions: status, explain, psql, mapping try."""

import signal
import subprocess
from typing import Annotated, Any

import typer

from twezah.cli.exits import FAILED
from twezah.cli.ledger import ledger
from twezah.cli.operate import Json, known_system
from twezah.cli.output import print_json, print_table, say

mapping = typer.Typer(
    no_args_is_help=True, help="Try how a billing system's records become our fields."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(epilog="Example: `twezah status --json`")(status)
    app.command(epilog="Examples: `twezah explain quickbooks 1042`, `twezah explain member 17`")(
        explain
    )
    passthrough = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    example = (
        "Examples: `twezah psql --analyst`, `twezah psql -c 'SELECT * FROM loyalty.member_balance "
        "LIMIT 5'`"
    )
    app.command(context_settings=passthrough, epilog=example)(psql)
    mapping.command("try", epilog="Example: `twezah mapping try xero invoice.json --json`")(
        mapping_try
    )
    app.add_typer(mapping, name="mapping")


def status(json: Json = False) -> None:
    """What is stored per system, how fresh it is, and whether the stack is up."""
    from settings import settings
    from sql import report
    from twezah.stack.up import running_stack

    up = running_stack(settings())
    with ledger() as dsn:
        rows = report.status(dsn)
    if json:
        print_json({"stack": up, "systems": rows})
        return
    print(
        f"The stack is up: {up.get('ui_url', 'starting')} (process {up.get('pid', 'unknown')})."
        if up is not None
        else "The stack is not up."
    )
    print_table("Ledger", rows)
    if not rows:
        print("The ledger is empty: nothing has been synced yet.")


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
    """Why this invoice earned this many points: every entry, rule by rule, and what did not apply.

    `twezah explain member 17` tells what a member's balance is made of.
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


def psql(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Passed on to psql as they are.")
    ] = None,
    analyst: Annotated[
        bool,
        typer.Option(
            "--analyst", help="Log in as the role analyst, which only reads. Comes first."
        ),
    ] = False,
) -> None:
    """The bundled psql on the ledger database, which is started if needed.

    `twezah psql -- --help` is psql's own help.
    """
    from settings import settings
    from twezah.stack import pginstall
    from twezah.stack.analyst import analyst_environment
    from twezah.stack.postgres import libpq_environment

    with ledger() as dsn:
        environment = analyst_environment(settings(), dsn) if analyst else libpq_environment(dsn)
        history = "psql_history_analyst" if analyst else "psql_history"
        environment.setdefault("PSQL_HISTORY", str(settings().home / history))
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to psql
        try:
            code = subprocess.run(
                [str(pginstall.program("psql")), *(arguments or [])], env=environment, check=False
            ).returncode
        finally:
            signal.signal(signal.SIGINT, previous)
    raise typer.Exit(code)


def mapping_try(
    system: Annotated[
        str, typer.Argument(metavar="SYSTEM", help="Key of the billing system, e.g. xero.")
    ],
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            metavar="FILE", help="A payload of that system: a page or one record; - is stdin."
        ),
    ],
    path: Annotated[
        list[str] | None,
        typer.Option(
            help="Another source path for a field, e.g. customer_phone=/Memo. Repeatable."
        ),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="The list it is from; found out if not given.")
    ] = None,
    block: Annotated[
        str, typer.Option(help="Try with the settings of this block (the stack must be up).")
    ] = "",
    config: Annotated[
        str,
        typer.Option(
            help="For custom and file: fields of the block as JSON, or a file that holds it."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Map a sample payload: the canonical fields, or which field failed and why.

    Nothing is stored or sent.
    """
    from connectors import spec_for
    from connectors.kit.errors import Misconfigured
    from connectors.kit.mapping.sample import try_record

    system = known_system(system)
    connection = _connection(system, dict(_key_value(text) for text in path or []), block, config)
    try:
        spec = spec_for(connection)
    except Misconfigured as error:
        raise typer.BadParameter(str(error), param_hint="--config") from None
    chosen = next((candidate for candidate in spec.streams if candidate.name == stream), None)
    if stream is not None and chosen is None:
        names = ", ".join(candidate.name for candidate in spec.streams)
        raise typer.BadParameter(
            f"unknown stream {stream!r}; known: {names}", param_hint="--stream"
        )
    try:
        records = try_record(spec, chosen, connection, file.read())
    except Misconfigured as error:
        raise typer.BadParameter(str(error), param_hint="--path") from None
    if json:
        print_json(records)
    else:
        for record in records:
            _print_record(record)
    if not all(record["ok"] for record in records):
        raise typer.Exit(FAILED)


def _key_value(text: str) -> tuple[str, str]:
    field, equals, source = text.partition("=")
    if not equals or not field or not source.startswith("/"):
        raise typer.BadParameter(f"{text!r} is not FIELD=/PATH", param_hint="--path")
    return field, source


def _connection(system: str, paths: dict[str, str], block: str, config: str) -> Any:
    """The connection whose settings are tried: a block's, those given, or none in particular."""
    from dataclasses import replace

    if block and config:
        raise typer.BadParameter(
            "--block and --config are two ways to say the same", param_hint="--config"
        )
    if not block and not config:
        return _sample_connection(system, paths)
    connection = _of_block(system, block) if block else _of_config(system, config)
    return replace(connection, paths={**connection.paths, **paths})


def _of_block(system: str, name: str) -> Any:
    from settings import settings
    from twezah.cli.serving import at_running_stack, use_api
    from twezah.stack.up import running_stack

    up = running_stack(settings())
    if up is None and settings().starts_prefect:
        raise typer.BadParameter(
            "blocks can be read only while the stack is up (`twezah up`)", param_hint="--block"
        )
    use_api(at_running_stack(settings()))
    from panel.blocks import NotConnectedError
    from panel.blocks.connected import load_block

    try:
        connection = load_block(name)
    except NotConnectedError as error:
        raise typer.BadParameter(str(error), param_hint="--block") from None
    if connection.system != system:
        raise typer.BadParameter(
            f"{name} is a connection of {connection.system}", param_hint="--block"
        )
    return connection.connection()


def _of_config(system: str, text: str) -> Any:
    """The connection of a block with these fields, which nobody saves."""
    import json
    from pathlib import Path

    from pydantic import ValidationError

    from connectors.kit.described.documents import problems
    from panel.blocks import BLOCKS, DescribedConnection

    block = BLOCKS[system]
    if not issubclass(block, DescribedConnection):
        raise typer.BadParameter(
            "only systems that are described in a block have settings to try", param_hint="--config"
        )
    try:
        values = json.loads(
            text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8")
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"no JSON object and no file with one: {error}", param_hint="--config"
        ) from None
    if unknown := sorted(set(values) - set(block.model_fields)):
        raise typer.BadParameter(
            f"there is no such field in the block: {', '.join(unknown)}", param_hint="--config"
        )
    try:
        return block(**{**block.sample_values(), **values}).connection()
    except ValidationError as error:
        raise typer.BadParameter(problems(block, error), param_hint="--config") from None


def _sample_connection(system: str, paths: dict[str, str]) -> Any:
    """A connection that reaches nothing.

    A sample needs only paths, region, time zone and a currency.
    """
    from pydantic import SecretStr

    from connectors import DESCRIBED
    from connectors.kit.described.documents import DEFAULT_CURRENCY
    from connectors.kit.spec import Account
    from settings import settings

    return Account(
        system=system,
        account="sample",
        base_url="",
        token_url="",
        client_id="",
        client_secret=SecretStr(""),
        refresh_token=SecretStr(""),
        region=settings().region,
        timezone=settings().timezone,
        paths=paths,
        default_currency=DEFAULT_CURRENCY if system in DESCRIBED else None,
    )


def _print_record(record: dict[str, Any]) -> None:
    """One record: what it became, and what is wrong with it."""
    verdict = "left out" if record.get("left_out") else "ok" if record["ok"] else "rejected"
    print(verdict, f"({record.get('stream') or 'no stream'})")
    for name, value in (record.get("invoice") or {}).items():
        print(f"  {name:<24} {'-' if value is None else value}")
    for line in record.get("lines") or []:
        print(
            "  line  ",
            "  ".join(f"{name}={value}" for name, value in line.items() if value is not None),
        )
    for problem in record.get("problems") or []:
        example = f" (found: {problem['example']})" if problem.get("example") else ""
        print(
            f"  problem  {problem['field']}, from {problem['path']}: {problem['reason']}{example}"
        )
    for note in record.get("notes") or []:
        print(f"  note  {note}")
