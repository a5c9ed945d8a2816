"""`keep_alive` in Ollama's words."""

import math

import pytest

from casona.engine.keep_alive import keep_alive_s
from casona.exchange.errors import BadRequest

SAID = {
    "5m": 300,
    "90s": 90,
    "1h30m": 5400,
    "1.5h": 5400,
    "250ms": 0.25,
    "90": 90,
    "0": 0,
    "0s": 0,
    "-0": 0,
    "-1": math.inf,
    "-1m": math.inf,
    " 10s ": 10,
}


@pytest.mark.parametrize("text", SAID)
def test_a_duration_is_seconds(text: str) -> None:
    assert keep_alive_s(text) == SAID[text]


@pytest.mark.parametrize("text", ["", "-", "m", "5 m", "5x", "five", "1h-5m", "nan", "inf", "1e3", "٣s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        keep_alive_s(text)
    assert refusal.value.param == "keep_alive"
