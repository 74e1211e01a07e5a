"""Exchange rates: what a file may say, which rate a day has, and how a file is had from an address."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import httpx
import polars as pl
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from connectors.kit.http.download import DownloadError, download
from loyalty.fx import RATES, BadRatesError, by_version, in_force, read_csv
from loyalty.inputs import FX
from tests.support.ledger import PROGRAM

HEAD = "date,currency,base_currency,rate,valid_until\n"
FRIDAY = date(2026, 3, 6)


def rates(*rows: tuple[int, date, date, int]) -> pl.DataFrame:
    """RATES of euros in kwanzas: (rate_id, valid_on, valid_until, rate_e9)."""
    return pl.DataFrame(
        [(n, "EUR", "AOA", a, b, r) for n, a, b, r in rows], schema=RATES, orient="row"
    )


class TestFiles:
    def test_what_a_line_says(self) -> None:
        (one,) = read_csv(
            "\ufeffdate,currency,base_currency,rate\n 2026-03-06 ,EUR,AOA, 925.500000001\n"
        )
        assert (one.currency, one.base_currency, one.rate) == (
            "EUR",
            "AOA",
            Decimal("925.500000001"),
        )
        assert one.valid_on == one.valid_until == FRIDAY

    def test_the_days_it_is_in_force(self) -> None:
        said, carried = read_csv(
            HEAD + "2026-03-06,EUR,AOA,1,2026-03-07\n2026-03-06,USD,AOA,1,\n", carry_days=3
        )
        assert (said.valid_until, carried.valid_until) == (
            FRIDAY + timedelta(1),
            FRIDAY + timedelta(3),
        )

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("06/03/2026,EUR,AOA,1,", "2026-01-31"),
            ("2026-03-06,EUR,AOA,0,", "rate"),
            ("2026-03-06,EUR,AOA,-1,", "rate"),
            ("2026-03-06,EUR,AOA,NaN,", "rate"),
            ("2026-03-06,EUR,AOA,1e40,", "rate"),
            ('2026-03-06,EUR,AOA,"925,5",', "rate"),
            ("2026-03-06,EUR,AOA,1.0000000001,", "rate"),
            ("2026-03-06,EUR,,1,", "base_currency"),
            ("2026-03-06,EUR,ABC,1,", "'ABC' is no currency"),
            ("2026-03-06,EUR,EUR,1,", "the same"),
            ("2026-03-06,EUR,AOA,1,2026-03-05", "valid_until"),
            ("2026-03-06,EUR,AOA,1,2028-03-05", "valid_until"),
            ("2026-03-06", "currency"),
        ],
    )
    def test_what_cannot_be_is_named_by_line(self, line: str, told: str) -> None:
        with pytest.raises(BadRatesError, match="line 3") as caught:
            read_csv(f"{HEAD}2026-03-05,EUR,AOA,1,\n{line}\n")
        assert told in str(caught.value)

    def test_all_problems_at_once_but_not_endlessly(self) -> None:
        with pytest.raises(BadRatesError) as caught:
            read_csv(HEAD + "x,EUR,AOA,1,\n" * 50)
        assert (
            "line 2:" in str(caught.value)
            and "line 21:" in str(caught.value)
            and "and 30 more" in str(caught.value)
        )

    def test_two_rates_of_a_day_contradict_and_a_repeated_line_does_not(self) -> None:
        line = "2026-03-06,EUR,AOA,1,\n"
        assert len(read_csv(HEAD + line + line)) == 1
        with pytest.raises(
            BadRatesError, match="line 3: another rate of EUR in AOA for 2026-03-06"
        ):
            read_csv(HEAD + line + "2026-03-06,EUR,AOA,2,\n")

    def test_a_file_of_something_else(self) -> None:
        with pytest.raises(BadRatesError, match="not found: date, currency, base_currency, rate"):
            read_csv("<html>")
        with pytest.raises(BadRatesError, match="not found"):
            read_csv("")


class TestInForce:
    def test_a_day_is_a_day_of_the_time_zone(self) -> None:
        found = in_force(rates((1, FRIDAY, FRIDAY, 5)), "Africa/Luanda")
        assert found.schema == FX
        assert found.row(0)[2:] == (
            datetime(2026, 3, 5, 23, tzinfo=UTC), datetime(2026, 3, 6, 23, tzinfo=UTC), 5,
        )  # fmt: skip

    def test_a_days_own_rate_beats_one_that_is_carried_on(self) -> None:
        monday = FRIDAY + timedelta(3)
        found = in_force(rates((2, FRIDAY, monday, 5), (1, monday, monday, 6)), "UTC")
        assert found["rate_e9"].to_list() == [5, 5, 5, 6]

    def test_the_last_entered_corrects(self) -> None:
        assert in_force(rates((2, FRIDAY, FRIDAY, 6), (1, FRIDAY, FRIDAY, 5)), "UTC")[
            "rate_e9"
        ].to_list() == [6]

    def test_a_longer_one_goes_on_after_a_shorter_one(self) -> None:
        found = in_force(
            rates(
                (1, FRIDAY, FRIDAY + timedelta(3), 5),
                (2, FRIDAY + timedelta(1), FRIDAY + timedelta(1), 6),
            ),
            "UTC",
        )
        assert found["rate_e9"].to_list() == [5, 6, 5, 5]

    def test_of_none(self) -> None:
        assert in_force(rates(), "UTC").schema == FX

    def test_a_later_time_zone_does_not_move_the_days_of_the_past(self) -> None:
        """From the Saturday's noon on the program lives in New York; the Friday was one of Luanda."""
        noon = datetime(2026, 3, 7, 12, tzinfo=UTC)
        moved = PROGRAM.model_copy(
            update={"version": 2, "valid_from": noon, "timezone": "America/New_York"}
        )
        found = by_version(rates((1, FRIDAY, FRIDAY + timedelta(1), 5)), [PROGRAM, moved])
        assert [(a, b) for a, b in zip(found["valid_from"], found["valid_to"], strict=True)] == [
            (datetime(2026, 3, 5, 23, tzinfo=UTC), datetime(2026, 3, 6, 23, tzinfo=UTC)),
            (datetime(2026, 3, 6, 23, tzinfo=UTC), noon),
            (noon, datetime(2026, 3, 8, 5, tzinfo=UTC)),
        ]
        assert by_version(rates(), [PROGRAM, moved]).schema == FX

    @given(
        st.lists(
            st.tuples(st.integers(0, 20), st.integers(0, 6), st.integers(1, 99)),
            min_size=1,
            max_size=12,
        ),
        st.sampled_from(["UTC", "Africa/Luanda", "America/Sao_Paulo", "Asia/Beirut"]),
    )
    def test_never_two_at_once_and_as_the_obvious_way_finds_it(
        self, rows: list[tuple[int, int, int]], zone: str
    ) -> None:
        begin = date(2018, 10, 30)  # clocks are put forward at midnight in Sao Paulo on 2018-11-04
        known = [
            (n, begin + timedelta(a), begin + timedelta(a + b), r)
            for n, (a, b, r) in enumerate(rows)
        ]
        found = in_force(rates(*known), zone)
        ends = found["valid_to"].to_list()
        assert all(a <= b for a, b in zip(ends, found["valid_from"].to_list()[1:], strict=False))
        for day in (begin + timedelta(n) for n in range(30)):
            fitting = [(a, n, r) for n, a, b, r in known if a <= day <= b]
            noon = datetime(
                day.year, day.month, day.day, 15, tzinfo=UTC
            )  # in every zone of the test within the day
            at = found.filter((pl.col("valid_from") <= noon) & (noon < pl.col("valid_to")))[
                "rate_e9"
            ].to_list()
            assert at == ([max(fitting)[2]] if fitting else [])


class TestDownloads:
    URL = "https://rates.example/daily?key=s3cret"

    def fetched(
        self, *answers: httpx.Response | Exception, bytes_max: int = 100
    ) -> tuple[bytes, int]:
        """The body, and how often was asked."""
        left = list(answers)

        def answer(_: httpx.Request) -> httpx.Response:
            one = left.pop(0)
            if isinstance(one, Exception):
                raise one
            return one

        with stamina.set_testing(True, attempts=3):
            body = download(self.URL, bytes_max=bytes_max, transport=httpx.MockTransport(answer))
        return body, len(answers) - len(left)

    def test_again_after_what_may_pass(self) -> None:
        assert self.fetched(
            httpx.Response(503), httpx.ReadTimeout("x"), httpx.Response(200, content=b"ok")
        ) == (
            b"ok",
            3,
        )

    @pytest.mark.parametrize(
        ("answers", "told"),
        [
            ([httpx.Response(404)], "answered 404. Correct the address"),
            ([httpx.Response(200, content=b"x" * 101)], "larger than 100 bytes"),
            ([httpx.Response(500)] * 3, "answered 500. Try again later"),
            ([httpx.Response(302, headers={"location": "/"})] * 4, "no usable"),
            ([httpx.ConnectError("s3cret")] * 3, "ConnectError"),
        ],
    )
    def test_what_goes_wrong_names_the_host_only(
        self, answers: list[httpx.Response | Exception], told: str
    ) -> None:
        with pytest.raises(DownloadError, match=told) as caught:
            self.fetched(*answers)
        assert "GET rates.example" in str(caught.value) and "s3cret" not in str(caught.value)

    def test_what_is_no_address(self) -> None:
        with pytest.raises(DownloadError, match="no usable"):
            download("ftp://rates.example/", bytes_max=1)
