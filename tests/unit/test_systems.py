"""A system is one folder: what is made of the folders is not stale."""

import ast
import re
import textwrap
from dataclasses import fields
from typing import Any

import pytest
import yaml

from connectors.forms import forms
from connectors.kit.errors import block_name
from connectors.kit.spec import ConnectorSpec, Lookup, Stream
from panel import blocks
from panel.blocks import BLOCKS
from panel.blocks.kinds import block_class
from scripts.systems import generated, stale
from settings import PROJECT_ROOT


def test_what_is_made_of_the_folders_is_as_they_say() -> None:
    """After a change in connectors/: python -m scripts.systems."""
    assert stale() == []


def test_it_is_made_of_marked_parts_and_whole_pages() -> None:
    pages = {f"docs/systems/{system}.md" for system in forms()}
    assert set(generated()) == {"prefect.yaml", "README.md", "docs/configuration.md", *pages}


def test_every_system_has_its_deployment_and_the_names_stay() -> None:
    text = (PROJECT_ROOT / "prefect.yaml").read_text(encoding="utf-8")
    names = [entry["name"] for entry in yaml.safe_load(text)["deployments"]]
    assert len(names) == len(set(names))
    synced = {name for name in names if name.startswith("sync-")}
    assert synced == {f"sync-{block_name(system)}" for system in forms()}
    # Schedules and runs of installations hang on these names.
    assert synced >= {
        "sync-quickbooks",
        "sync-xero",
        "sync-freshbooks",
        "sync-netsuite",
        "sync-sage-intacct",
        "sync-custom",
        "sync-file",
        "sync-business-central",
        "sync-sap-s4hana",
    }


def test_what_is_stored_with_a_filled_in_form_stays() -> None:
    """Saved blocks, with their secrets, are found by these names."""
    assert {
        system: (block.__name__, block._block_type_name, block._block_type_slug)
        for system, block in BLOCKS.items()
    } == {
        "freshbooks": ("FreshBooksConnection", "FreshBooks Connection", "freshbooks-connection"),
        "netsuite": ("NetSuiteConnection", "NetSuite Connection", "netsuite-connection"),
        "quickbooks": ("QuickBooksConnection", "QuickBooks Connection", "quickbooks-connection"),
        "sage_intacct": (
            "SageIntacctConnection",
            "Sage Intacct Connection",
            "sage-intacct-connection",
        ),
        "xero": ("XeroConnection", "Xero Connection", "xero-connection"),
        "shopify": ("ShopifyConnection", "Shopify Connection", "shopify-connection"),
        "stripe": ("StripeConnection", "Stripe Connection", "stripe-connection"),
        "zoho_books": ("ZohoBooksConnection", "Zoho Books Connection", "zoho-books-connection"),
        "oracle_fusion": (
            "OracleFusionConnection",
            "Oracle Fusion Connection",
            "oracle-fusion-connection",
        ),
        "magento": ("MagentoConnection", "Magento Connection", "magento-connection"),
        "wave": ("WaveConnection", "Wave Connection", "wave-connection"),
        "woocommerce": (
            "WooCommerceConnection",
            "WooCommerce Connection",
            "woocommerce-connection",
        ),
        "custom": ("CustomConnection", "Custom Connection", "custom-connection"),
        "file": ("FileDropConnection", "File Drop Connection", "file-drop-connection"),
        "push": ("PushOnlyConnection", "Push Only Connection", "push-only-connection"),
        "business_central": (
            "BusinessCentralConnection",
            "Business Central Connection",
            "business-central-connection",
        ),
        "sap_s4hana": (
            "SAPS4HANAConnection",
            "SAP S4HANA Connection",
            "sap-s4hana-connection",
        ),
        "paypal": ("PayPalConnection", "PayPal Connection", "paypal-connection"),
        "square": ("SquareConnection", "Square Connection", "square-connection"),
    }
    assert set(BLOCKS.values()) == {getattr(blocks, block.__name__) for block in BLOCKS.values()}


def test_the_ground_floor_imports_nothing_of_ours() -> None:
    """Import contracts are about packages; settings.py is a single module."""
    ours = {path.name for path in PROJECT_ROOT.iterdir() if (path / "__init__.py").exists()}
    ours |= {"scripts", "benchmarks", "tests"}
    assert {"connectors", "tasks", "sql"} <= ours
    tree = ast.parse((PROJECT_ROOT / "settings.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(str(node.module).partition(".")[0])
    assert imported & ours == set()


def test_the_form_of_the_guide_makes_a_block() -> None:
    guide = (PROJECT_ROOT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
    example = guide.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"__name__": "example"}
    exec(textwrap.dedent(example), names)  # noqa: S102  our own guide
    kind = block_class("garrafa", names["FORM"])
    block = kind(shop="4711", api_key="k3y")
    account = block.connection()
    assert (kind.__name__, block.missing()) == ("GarrafaConnection", "")
    assert (account.system, account.account) == ("garrafa", "4711")
    assert account.secret("api_key") == "k3y"


@pytest.mark.parametrize("kind", [ConnectorSpec, Stream, Lookup], ids=lambda kind: kind.__name__)
def test_the_guide_names_every_field(kind: type) -> None:
    """The table `your API does X -> use Y` of docs/adding-a-system.md leaves nothing out."""
    guide = (PROJECT_ROOT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
    _, _, behind = guide.partition(f": `{kind.__name__}`\n")
    section = re.split(r"\n##", behind)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    named = set(re.findall(r"`(\w+)[=`(]", "\n".join(rows)))
    assert {field.name for field in fields(kind)} - named == set()
