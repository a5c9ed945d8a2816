"""How turns of several proxies become tables and promises."""

from bench.gateway_tables import Samples, against, of, ratio, sections
from bench.options import Options
from bench.report import Section, Spread

ROUNDS: Samples = {
    "no proxy": [{"p50_us": 20.0, "p99_us": 40.0}, {"p50_us": 30.0, "p99_us": 50.0}],
    "nginx": [
        {"requests_per_s": 50_000.0, "core_used": 0.99},
        {"requests_per_s": 10_000.0, "core_used": 0.98},
    ],
    "Casona": [
        {"requests_per_s": 10_000.0, "p50_us": 120.0, "p99_us": 400.0, "core_used": 1.0, "errors_32": 0},
        {"requests_per_s": 3_000.0, "p50_us": 150.0, "p99_us": 350.0, "core_used": 0.5, "errors_32": 7},
    ],
    "LiteLLM": [{}, {"requests_per_s": 100.0}],
}


def gateway() -> Section:
    (section,) = sections(ROUNDS, Options(only=("gateway",)), ["measured in a test"])
    return section


def test_proxies_are_compared_round_by_round() -> None:
    shares = against(ROUNDS, "Casona", "nginx", "requests_per_s", ratio)
    assert shares == Spread(0.25, 0.2, 0.3)


def test_a_round_that_failed_keeps_the_others_side_by_side() -> None:
    assert against(ROUNDS, "Casona", "LiteLLM", "requests_per_s", ratio) == Spread(30.0, 30.0, 30.0)


def test_what_was_never_measured_has_no_figure() -> None:
    assert of(ROUNDS, "Portkey", "requests_per_s") is None
    assert against(ROUNDS, "Casona", "Portkey", "requests_per_s", ratio) is None


def test_promises_are_judged_by_medians_of_the_rounds() -> None:
    measured = {promise.what: promise.measured for promise in gateway().promises}
    assert measured == {
        "requests/s, share of nginx": 0.25,
        "requests/s, times LiteLLM": 30.0,
        "requests/s, times Portkey": None,
        "added latency p50": 110.0,
        "added latency p99": 330.0,
    }


def test_failed_requests_and_a_core_left_idle_are_told() -> None:
    assert gateway().notes == [
        "measured in a test",
        "Casona: 7 requests failed",
        "Casona used 75% of its core: the load, or other work on this machine, held it back",
    ]


def test_only_what_was_asked_for_is_told() -> None:
    names = [section.name for section in sections(ROUNDS, Options(only=("streams", "idle")), [])]
    assert names == ["streams", "idle"]


def test_every_sample_is_kept() -> None:
    assert gateway().figures == ROUNDS
