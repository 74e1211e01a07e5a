"""What to do about a reject, by its reason: a column of the report of a run.

docs/operations.md has the same, at length.
"""

import re
from typing import Final

_MAPPING: Final = "Correct *Field mapping* in the block"
#: Pattern of a reason, and what to do. The first pattern that fits counts.
_FIXES: Final = (
    (
        r"^Customer phone: the customer was not found",
        "Look for the customer at the vendor; then read the period again (*Custom run*, `since`)",
    ),
    (
        r"^Customer phone: .*E\.164",
        "Correct the number at the customer, or *Phone region* in the block",
    ),
    (
        r"^Customer phone, looked for at ",
        f"Enter a phone at the customer. Where it is kept in another field: {_MAPPING}",
    ),
    (r"^Customer phone:", "Enter a phone at the customer; it is asked for again by itself"),
    (r"^Currency.*: missing$", "Set *Default currency* in the block"),
    (
        r"^Total.*: is negative$",
        (
            "A return? Say in *Field mapping* where the kind of document is (`kind`), and its word "
            "under *Document types*"
        ),
    ),
    (
        r"^Status, looked for at .*",
        "Add the word to *Statuses* in the block, where it has them; otherwise report it",
    ),
    (r", looked for at [^:]*: missing$", _MAPPING),
    (r", looked for at ", f"{_MAPPING}, or how it says that amounts and dates are written"),
    (r"^Issued", "Correct the date of the document"),
    (r"^points: there is no exchange rate", "Load that day's rate: deployment *fx-rates*"),
    (
        r"^points: .*(no rate for|no version of the program)",
        "A further version of the rules: deployment *program*",
    ),
    (r"^points:", "Report it, with this report"),
)
#: Advice for any other reason.
_OTHERWISE: Final = "Correct the document at the billing system"
_COMPILED: Final = tuple((re.compile(pattern), fix) for pattern, fix in _FIXES)


def fix(reason: str) -> str:
    """What to do about a reject with this reason."""
    return next((text for pattern, text in _COMPILED if pattern.search(reason)), _OTHERWISE)
