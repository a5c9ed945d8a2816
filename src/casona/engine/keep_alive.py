"""How long an unused model stays loaded, as Ollama says it: `5m`, `90s`, `1h30m`, `0`, `-1`.

Source: https://github.com/ollama/ollama/blob/main/docs/faq.md and Go's time.ParseDuration.
"""

import math
import re

from casona.exchange.errors import BadRequest

_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)


def keep_alive_s(text: str) -> float:
    """Seconds; a bare number is seconds, and anything negative is for ever (inf).

    Raises BadRequest for what is no duration.
    """
    bare = text.strip().removeprefix("+")
    positive = bare.removeprefix("-")
    if _NUMBER.fullmatch(positive):
        seconds = float(positive)
    elif _WHOLE.fullmatch(positive):
        seconds = sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(positive))
    else:
        raise BadRequest(
            f"keep_alive: {text[:40]!r} is no duration such as 5m, 90s, 0 or -1", param="keep_alive"
        )
    return math.inf if bare.startswith("-") and seconds > 0 else seconds
