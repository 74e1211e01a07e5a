"""Commands about field mappings: mapping try."""

from typing import Annotated, Any

import typer

from twezah.cli.exit_codes import FAILED
from twezah.cli.options import Json, SystemKey, known_system
from twezah.cli.output import print_json

mapping = typer.Typer(
    no_args_is_help=True, help="Try how a billing system's records become our fields."
)


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    mapping.command("try", epilog="Example: `twezah mapping try xero invoice.json --json`")(
        mapping_try
    )
    app.add_typer(mapping, name="mapping")


def mapping_try(
    system: SystemKey,
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
        str | None, typer.Option(help="The list that it is from; detected if not given.")
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
    """The connection whose settings are tried.

    It is that of the block, that of the given settings, or one with defaults.
    """
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
    from twezah.cli.use_stack import at_running_stack, use_api
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
    """The connection of a block with these fields; the block is not saved."""
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
    sources = record.get("sources") or {}
    for name, value in (record.get("invoice") or {}).items():
        origin = f"  from {sources[name]}" if value is not None and name in sources else ""
        print(f"  {name:<24} {'-' if value is None else value}{origin}")
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
