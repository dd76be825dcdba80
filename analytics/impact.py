"""How much a thin zone says: its class by how thin it is, and how fast price went through it.

Invariant: weak evidence only ever lowers a class. Source: definitions, sections 4.4 and 4.6
(docs/analytics.md).
"""

from typing import Literal, get_args

Impact = Literal["Low", "Medium", "High", "Critical"]

IMPACTS: tuple[Impact, ...] = get_args(Impact)
# Deficits in % from which a zone is Medium, High, Critical; set on simulated walks (bench/walks.py).
IMPACT_FROM_PCT = (94, 97, 99)
STABLE = 0.9
RANDOM_WALK_SPEED = 1
# A walk of variance s² a second crosses a width w in a median of 0.278·w²/s² seconds, once it does: the
# passage of a three-dimensional Bessel process. Simulated walks of whole ticks took 0.29.
CROSSING_CONSTANT = 0.278
MIN_CROSSING_PRINTS = 10


def impact_of(
    deficit_pct: float,
    *,
    gap: bool,
    dense: bool,
    stability: float | None = None,
    speed_ratio: float | None = None,
) -> Impact:
    """How thin an interior zone is: by its deficit, one class down where the evidence is weak.

    A `gap` is Critical where rows are `dense` (>= 150 trades in the median core row). Stability under 0.9 or
    a speed no greater than a random walk's (ratio >= 1) takes one class off; None leaves it. Provisional.
    Source: definitions, section 4.6.
    """
    critical = len(IMPACT_FROM_PCT)
    rank = critical if gap and dense else sum(deficit_pct >= bound for bound in IMPACT_FROM_PCT)
    unstable = stability is not None and stability < STABLE
    slow = speed_ratio is not None and speed_ratio >= RANDOM_WALK_SPEED
    return IMPACTS[max(rank - (unstable or slow), 0)]


def speed_ratio(
    median_cross_s: float | None, *, width: float, variance_per_s: float | None, prints: int
) -> float | None:
    """The median crossing over what a random walk of that variance needs, `0.278·width²/variance`.

    1 is a random walk, small is fast. None without a crossing or a variance, and below 10 prints in the zone.
    Source: definitions, section 4.4.
    """
    if median_cross_s is None or not variance_per_s or prints < MIN_CROSSING_PRINTS:
        return None
    return median_cross_s / (CROSSING_CONSTANT * width**2 / variance_per_s)
