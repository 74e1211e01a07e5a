"""Amounts without the money's sign and without gaps between thousands.

Both are left out where nothing else can be meant.

The minus is found where accountants put it: behind the amount, as brackets around it, or as another
character than the hyphen.
"""

from typing import Final

import polars as pl

from connectors.kit.mapping.parse import currency_code
from loyalty.currency import EXPONENTS

_SPACE: Final = r"[\s\u00a0\u202f]*"
_GAP: Final = r"[\s\u00a0\u202f'\u2019]"
_SIGN: Final = r"(?i:US\$|[a-z]{2,3}|[€$])"
_SIGN_BEFORE: Final = rf"^[+-]?{_SPACE}({_SIGN}){_SPACE}[+-]?{_SPACE}\d"
_SIGN_BEHIND: Final = rf"\d[.,]?{_SPACE}({_SIGN})$"
#: Gaps between groups of three digits. An amount with other gaps is refused: 12 50 may be two
#: amounts.
_GAPS: Final = rf"^[+-]?[1-9]\d{{0,2}}(?:{_GAP}\d{{3}})+(?:[.,]\d*)?$"
#: The currencies that signs stand for. A bare dollar is that of any currency but those in
#: `_NO_DOLLARS`.
_MEANS: Final = {code: code for code in EXPONENTS} | {
    "KZ": "AOA",
    "AKZ": "AOA",
    "€": "EUR",
    "US$": "USD",
    "$": "$",
}
_NO_DOLLARS: Final = ("AOA", "EUR")


#: Other characters for minus: the sign itself, hyphens and dashes.
_MINUS: Final = "[\u2010-\u2013\u2212\ufe58\ufe63\uff0d]"
_UNSEEN: Final = "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
_BRACKETED: Final = rf"^([^\d()+-]*)\({_SPACE}([^()+-]*\d[^()+-]*)\)([^\d()+-]*)$"
_MINUS_BEHIND: Final = rf"^([^+-]*\d[^+-]*?){_SPACE}-({_SPACE}[^\d+-]*)$"


def signed(text: pl.Expr) -> pl.Expr:
    """`5.000,00-`, `(5 000,00)` and `\u22125.000,00` with a plain minus before the amount."""
    plain = text.str.replace_all(_UNSEEN, "").str.replace_all(_MINUS, "-").str.strip_chars()
    plain = plain.str.replace(_BRACKETED, "-${1}${2}${3}")
    return plain.str.replace(_MINUS_BEHIND, "-${1}${2}").str.strip_chars()


def bare(text: pl.Expr, currency: pl.Expr | None) -> pl.Expr:
    """The digits of amounts, with their points and commas.

    An amount stays as it is where its sign is not that of `currency` (None: the sign is not
    compared).
    """
    before, behind = text.str.extract(_SIGN_BEFORE, 1), text.str.extract(_SIGN_BEHIND, 1)
    digits = text.str.replace(
        rf"^([+-]?){_SPACE}{_SIGN}?{_SPACE}([+-]?){_SPACE}(\d)", "${1}${2}${3}"
    ).str.replace(rf"(\d[.,]?){_SPACE}{_SIGN}$", "${1}")
    joined = (
        pl.when(digits.str.contains(_GAPS)).then(digits.str.replace_all(_GAP, "")).otherwise(digits)
    )
    sign = pl.coalesce(before, behind)
    fits = sign.is_null() | (_fits(sign, currency) & (before.is_null() | behind.is_null()))
    return pl.when(fits).then(joined).otherwise(text)


def _fits(sign: pl.Expr, currency: pl.Expr | None) -> pl.Expr:
    means = sign.str.to_uppercase().replace_strict(_MEANS, default=None, return_dtype=pl.String)
    if currency is None:
        return means.is_not_null()
    code = currency_code(currency)
    # An unknown currency is a problem of its own, not of the amount.
    same = (means == code) | ((means == "$") & ~code.is_in(_NO_DOLLARS)) | code.is_null()
    return means.is_not_null() & same
