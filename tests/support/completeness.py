"""What a billing system still lacks, in words: docs/adding-a-system.md as a check.

`python -m tests.support.completeness NAME`.
"""

import sys
from collections.abc import Iterator
from functools import cache

from connectors import SYSTEMS
from connectors.forms import forms
from connectors.kit.errors import block_name
from connectors.kit.spec import ConnectorSpec, Stream
from loyalty.places import PLACES
from loyalty.schema import INVOICE, LINE
from panel.blocks import BLOCKS, ConsentedConnection, account_field
from settings import PROJECT_ROOT
from simulator.registry import VENDORS
from tests.support.hostile import ERRORS_IN_200
from twezah.stack.provision import project_deployments

#: Columns that the kit fills by itself.
#: Columns of invoices that need no source: the kit fills them in, by others where there are none.
GIVEN = {
    "system", "account", "kind", "page_id", "record_no", "reference_ids", "time_known",
    "original_external_id", *PLACES,
}  # fmt: skip
OF_LINES = {"system", "account", "external_id", "line_no", "page_id", "record_no"}


def gaps(spec: ConnectorSpec) -> list[str]:
    """Everything that is missing, one sentence each, in the order of the guide."""
    return [
        *first_tier(spec),
        *_simulated(spec),
        *_tested(spec),
        *_documented(spec),
    ]


def first_tier(spec: ConnectorSpec) -> list[str]:
    """What is missing before the system's sales can be read."""
    return [*_described(spec), *_registered(spec), *_deployed(spec)]


def _described(spec: ConnectorSpec) -> Iterator[str]:
    file = f"connectors/{spec.name}/connector.py"
    if not spec.docs_url.startswith("https://"):
        yield f"{file}: docs_url is not the https address of the vendor's documentation"
    if not spec.rate.windows:
        yield f"{file}: rate has no window: how many requests does the vendor take in how many seconds?"
    if spec.fault is ConnectorSpec.fault:
        yield f"{file}: fault is missing: where does the vendor write its error code?"
    if spec.consent is not None and not spec.consent.register_url:
        yield (
            f"{file}: consent has no register_url: where does an operator register an application?"
        )
    for stream in spec.streams:
        if stream.deleted is None:
            yield from (f"{file}: stream {stream.name!r}: {words}" for words in _columns(stream))
    has_phone = any(
        stream.fields["customer_phone"].paths
        for stream in spec.streams
        if "customer_phone" in stream.fields
    )
    if not has_phone and not any(lookup.name == "customers" for lookup in spec.lookups):
        yield f"{file}: nobody's phone is read: give customer_phone a path, or add the lookup 'customers'"


def _columns(stream: Stream) -> Iterator[str]:
    for name in sorted(set(INVOICE.names()) - set(stream.fields) - GIVEN):
        yield f"field {name!r} has no source (computed(pl.lit(None), required=False) where the vendor has none)"
    if stream.lines is None:
        yield "it has no lines"
        return
    for name in sorted(set(LINE.names()) - set(stream.lines.fields) - OF_LINES):
        yield f"field {name!r} of the lines has no source"


def _registered(spec: ConnectorSpec) -> Iterator[str]:
    if SYSTEMS.get(spec.name) is not spec:
        yield f"connectors/{spec.name}/connector.py: there is no SPEC"
    block, file = BLOCKS.get(spec.name), f"connectors/{spec.name}/form.py"
    if block is None:
        yield f"connectors/{spec.name}/form.py: there is no FORM: what does an operator fill in?"
        return
    if (spec.consent is not None) != issubclass(block, ConsentedConnection):
        yield f"{file}: {block.__name__} and the connector's `consent` do not agree on whether someone consents in a browser"
    try:
        named = account_field(spec.name)
    except KeyError:
        yield f"{file}: no field of {block.__name__} names the account (account_field)"
    else:
        if named not in block.model_fields:
            yield f"{file}: {block.__name__} has no field {named!r}, which is to name the account"
    for name, field in block.model_fields.items():
        if not field.title or not field.description:
            yield f"{file}: field {name!r} of {block.__name__} has no title or no description for the operator"
    if block_name(spec.name) not in (block._description or ""):
        yield f"{file}: the description of {block.__name__} does not tell to name the block `{block_name(spec.name)}`"


def _deployed(spec: ConnectorSpec) -> Iterator[str]:
    named = block_name(spec.name)
    found = {one["name"]: one for one in project_deployments()}
    deployment = found.get(f"sync-{named}")
    if deployment is None:
        yield f"prefect.yaml: there is no deployment sync-{named}: python -m scripts.systems"
        return
    if deployment["parameters"] != {"system": named}:
        yield f"prefect.yaml: sync-{named} does not have the parameter system: {named}"
    if named not in deployment["tags"]:
        yield f"prefect.yaml: sync-{named} lacks the tag {named}"
    if spec.title not in deployment["description"]:
        yield f"prefect.yaml: the description of sync-{named} does not name {spec.title}"


def _simulated(spec: ConnectorSpec) -> Iterator[str]:
    folder = f"simulator/systems/{spec.name}"
    if spec.name not in VENDORS:
        yield f"{folder}/system.py: there is no SYSTEM: account, tokens, limits, numbers"
    if not (PROJECT_ROOT / folder / "api.py").exists():
        yield f"{folder}/api.py: there is no API: how does the vendor answer?"
    form = forms().get(spec.name)
    simulated = form.simulated if form else None
    if simulated is None:
        yield f"connectors/{spec.name}/form.py: `--simulator` does not connect it (simulated)"
    elif spec.consent is not None and not {"token_url", "authorize_url"} <= set(simulated):
        yield f"connectors/{spec.name}/form.py: simulated has no paths of the token and the consent"


def _tested(spec: ConnectorSpec) -> Iterator[str]:
    if spec.name not in ERRORS_IN_200:
        yield f"tests/support/hostile.py: ERRORS_IN_200 has no error body of {spec.name}"
    own = PROJECT_ROOT / "tests" / "contract" / f"test_{spec.name}.py"
    if not own.exists() and f'"{spec.name}": ' not in _text("tests/unit/test_mapping_records.py"):
        yield f"tests/unit/test_mapping_records.py: RECORDS has no record of {spec.name} as the vendor sends it (or tests/contract/{own.name})"


def _documented(spec: ConnectorSpec) -> Iterator[str]:
    for file, what in (
        ("README.md", "how it is connected"),
        ("docs/points.md", "what is given back, and how that counts"),
        ("CHANGELOG.md", "that it is there"),
    ):
        if spec.title not in _text(file):
            yield f"{file}: it does not say of {spec.title} {what}"


@cache
def _text(file: str) -> str:
    return (PROJECT_ROOT / file).read_text(encoding="utf-8")


def main(name: str) -> int:
    """Prints what is missing; 1 if anything is."""
    if name not in SYSTEMS:
        sys.stdout.write(f"connectors/{name}/connector.py: there is no SPEC\n")
        return 1
    found = gaps(SYSTEMS[name])
    sys.stdout.write("\n".join(found or [f"{SYSTEMS[name].title} is complete."]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
