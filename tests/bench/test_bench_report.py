"""Figures, tables and promises: what is said of measurements."""

import math

import pytest
from bench.report import Promise, Spread, Table, percentile, promises_table, show, show_spread, spread


def test_a_spread_is_the_median_between_both_ends() -> None:
    assert spread([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)


def test_nothing_measured_has_no_spread() -> None:
    assert spread([]) is None
    assert show_spread(None) == "–"


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.505, 51), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_the_smallest_measured_value_that_covers_its_share(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(percentile([], 0.5))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (52_345.6, "52,346"),
        (100.0, "100"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1816, "0.182"),
        (-250.4, "-250"),
        (math.nan, "–"),
    ],
)
def test_figures_show_the_digits_that_matter(value: float, text: str) -> None:
    assert show(value) == text


def test_equal_ends_are_not_shown() -> None:
    assert show_spread(Spread(1.0, 1.001, 1.002)) == "1.00"
    assert show_spread(Spread(2.0, 1.0, 30.0)) == "2.00 (1.00–30.0)"


def test_a_table_lines_up_as_plain_text() -> None:
    table = Table("Speed", ("proxy", "requests/s"), (("nginx", "52,000"), ("Casona", "9,400")))
    assert table.markdown() == (
        "### Speed\n"
        "\n"
        "| proxy  | requests/s |\n"
        "| ------ | ---------: |\n"
        "| nginx  |     52,000 |\n"
        "| Casona |      9,400 |"
    )


def test_a_promise_is_kept_up_to_its_bound() -> None:
    def kept(sign: str, measured: float | None) -> bool | None:
        return Promise(what="latency", sign=sign, bound=200, measured=measured).kept

    assert [kept("<=", value) for value in (199.9, 200, 200.1)] == [True, True, False]
    assert [kept(">=", value) for value in (199.9, 200, 200.1)] == [False, True, True]
    assert [kept("<=", value) for value in (None, math.nan)] == [None, None]


def test_promises_say_whether_they_were_kept() -> None:
    table = promises_table(
        [
            Promise(what="idle memory", sign="<=", bound=90, measured=71.2, unit="MB"),
            Promise(what="share of nginx", sign=">=", bound=0.18, measured=0.1),
            Promise(what="times LiteLLM", sign=">=", bound=100, measured=None),
        ]
    )
    assert table.rows == (
        ("idle memory", "<= 90 MB", "71.2 MB", "yes"),
        ("share of nginx", ">= 0.18", "0.100", "NO"),
        ("times LiteLLM", ">= 100", "–", "not measured"),
    )
