"""ISO 4217: which currencies exist, and how many decimals each has."""

from typing import Final

import polars as pl

_TWO = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD
CDF CHF CNY COP CRC
CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR
ILS INR IRR JMD KES
KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN
NAD NGN NIO NOK NPR
NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC
SYP SZL THB TJS TMT
TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_OTHERS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

#: Decimals of each currency in use.
EXPONENTS: Final[dict[str, int]] = dict.fromkeys(_TWO.split(), 2) | {
    code: exponent for exponent, codes in _OTHERS.items() for code in codes.split()
}


def exponents_frame() -> pl.DataFrame:
    """One row per currency: `currency`, `exponent` (decimals of its minor unit)."""
    return pl.DataFrame(
        {"currency": list(EXPONENTS), "exponent": list(EXPONENTS.values())},
        schema={"currency": pl.String, "exponent": pl.Int64},
    )
