"""The rules of the points program under which the oracle can tell each document's points alone."""

from typing import Final

from settings import PROJECT_ROOT

#: As shipped a credit lowers the sale that it returns, and which one that is follows from all
#: documents of the member. The oracle multiplies once and knows no other document.
_CHANGED_LINES: Final = (
    ("# valid_from = 2027-01-01", "valid_from = 2000-01-01"),
    ('unlinked_credits = "returned_sales"', 'unlinked_credits = "own_date"'),
)


def each_document_alone() -> str:
    """The shipped points.toml, as it would be if every credit counted at its own date.

    Raises:
        RuntimeError: points.toml has no such line any more.

    """
    text = (PROJECT_ROOT / "points.toml").read_text()
    for shipped, ours in _CHANGED_LINES:
        if text.count(f"\n{shipped}\n") != 1:
            raise RuntimeError(f"points.toml has no line {shipped!r}, or several")
        text = text.replace(f"\n{shipped}\n", f"\n{ours}\n")
    return text
