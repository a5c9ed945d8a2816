"""Fifth step of the pipeline: lexical and dense search, fused so that the result is no worse than the better leg.

The rule and why (measured, see bench/retrieval.py): plain reciprocal-rank fusion loses 14 points of nDCG@10
where one leg does not know the language. So both legs give their first 50, the whole union is scored exactly
in both, and the scores are added on one scale each:

    0.8 x BM25 / max BM25  +  0.2 x (cosine - floor) / (max cosine - floor),   floor = mean - 3 deviations
"""

import numpy as np

from casona.library.store.base import Scores

DENSE_WEIGHT = 0.2


def fuse(bm25: Scores, cosines: Scores, floor: float, *, dense_weight: float = DENSE_WEIGHT) -> Scores:
    """One score from 0 to 1 per passage. A leg that found nothing leaves the order to the other.

    Without cosines (NaN) the lexical leg counts alone, on the whole scale.
    """
    known = ~np.isnan(cosines)
    if not known.any():
        dense_weight = 0.0
    lexical = _scaled(bm25, 0.0)
    dense = _scaled(np.where(known, cosines, floor), floor)
    return ((1 - dense_weight) * lexical + dense_weight * dense).astype(np.float32)


def _scaled(scores: Scores, floor: float) -> Scores:
    top = float(scores.max(initial=floor))
    if top <= floor:
        return np.zeros(len(scores), np.float32)
    return np.clip((scores - floor) / (top - floor), 0.0, 1.0)
