"""*Award when* of a block, as the ledger takes it."""

from datetime import UTC, date, datetime

import pytest

from connectors.kit.errors import Misconfigured
from panel.blocks import BLOCKS
from sql.policy import Wanted


def test_of_a_block() -> None:
    kind = BLOCKS["file"]
    assert kind(folder="/srv").award_policy() == Wanted()
    assert kind(folder="/srv", award_when="paid").award_policy() == Wanted("paid")
    # Midnight in Luanda is the hour before in UTC.
    from_may = kind(folder="/srv", award_when="paid", award_from=date(2026, 5, 1))
    assert from_may.award_policy() == Wanted("paid", datetime(2026, 4, 30, 23, tzinfo=UTC))
    nowhere = kind(folder="/srv", award_from=date(2026, 5, 1), timezone="Nowhere/Else")
    with pytest.raises(Misconfigured, match="Time zone"):
        nowhere.award_policy()


@pytest.mark.parametrize("system", BLOCKS)
def test_every_form_asks_for_it(system: str) -> None:
    fields = BLOCKS[system].model_json_schema()["properties"]
    assert {"award_when", "award_from"} <= fields.keys()
