"""Stability: how often a thin zone would still be thin had the window's ten minutes come in other numbers.

Invariant: the weight of ten minutes in a resample follows from symbol, time and resample alone, so that the
same trades always give the same share and a window that moves on does not flicker. Source: definitions,
section 4.5 (docs/analytics.md).
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from analytics.rows import core_rows
from analytics.thin import Rule, ThinZone, baseline_of
from storage.trades import IntArray

HashArray = npt.NDArray[np.uint64]

BLOCK_MS = 10 * 60_000
RESAMPLES = 200
MIN_BLOCKS = 6
# Weighted sums are formed in float64, which is exact below 2**53; weights leave 4 bits of that.
MOST_BITS = 49
# Products of so many factors are formed by one thread. BLAS shares larger ones with others, which then wait
# busily for the next: that took up to 30 ms of CPU a question.
MOST_FACTORS = 1 << 18


def stabilities(
    blocks: IntArray,
    first_block: int,
    zones: Sequence[ThinZone],
    *,
    symbol: str,
    rule: Rule,
    threshold_pct: Decimal,
) -> list[float | None]:
    """For each zone the share of 200 resamples in which its mean row stays under the threshold of their core.

    `blocks` is (blocks, rows): the volume of UTC-aligned ten minutes by row, the first being block number
    `first_block` since 1970. None where fewer than 6 blocks were traded in.
    """
    traded = np.flatnonzero(blocks.any(axis=1))
    if len(traded) < MIN_BLOCKS or not zones:
        return [None] * len(zones)
    resamples = _resampled(blocks, traded, poisson_weights(symbol, first_block + traded))
    share = Fraction(threshold_pct) / 100
    limits = [_limit(volume, rule, share) for volume in resamples]
    return [_kept(resamples[:, zone.rows].sum(axis=1), limits, zone) / RESAMPLES for zone in zones]


def _limit(volume: IntArray, rule: Rule, share: Fraction) -> Fraction:
    """What a mean row of a thin zone is under: the share of this resample's own core."""
    if not volume.any():
        return Fraction(0)
    first, last = core_rows(volume)
    return baseline_of(volume[first : last + 1], rule) * share


def _kept(volume: IntArray, limits: Sequence[Fraction], zone: ThinZone) -> int:
    """In how many resamples the zone, whose volume in each is given, has a raw mean under the limit."""
    rows = zone.last - zone.first + 1
    return sum(
        total * limit.denominator < limit.numerator * rows
        for total, limit in zip(volume.tolist(), limits, strict=True)
    )


def _resampled(blocks: IntArray, traded: IntArray, weights: npt.NDArray[np.float64]) -> IntArray:
    """The volume by row of each resample, (resamples, rows), in units that keep the sums exact."""
    spare_bits = max(int(blocks.sum()).bit_length() - MOST_BITS, 0)
    sums = np.empty((len(weights), blocks.shape[1]), np.int64)
    at_once = max(MOST_FACTORS // weights.size, 1)
    for rows in (slice(at, at + at_once) for at in range(0, blocks.shape[1], at_once)):
        sums[:, rows] = weights @ (blocks[traded, rows] >> spare_bits).astype(np.float64)
    return sums


def poisson_weights(symbol: str, blocks: IntArray) -> npt.NDArray[np.float64]:
    """How often each block counts in each resample, (resamples, blocks): Poisson(1) draws from a hash."""
    seed = int.from_bytes(blake2b(symbol.encode(), digest_size=8).digest(), "little")
    by_block = _mixed(blocks.astype(np.uint64) ^ np.uint64(seed))
    by_resample = _mixed(np.arange(RESAMPLES, dtype=np.uint64))
    draws = _mixed(by_block[None, :] ^ by_resample[:, None])
    return np.searchsorted(POISSON_LIMITS, draws, side="right").astype(np.float64)


def _mixed(x: HashArray) -> HashArray:
    """The finaliser of splitmix64, an even spread over 64 bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: HashArray = x ^ (x >> np.uint64(31))
    return mixed


def _poisson_limits() -> HashArray:
    """The hashes from which a draw is at least 1, 2, 3, ...: the distribution function times 2**64."""
    with localcontext(prec=40):
        share = cumulative = Decimal(-1).exp()
        limits = []
        for n in range(1, 16):
            limits.append(int(cumulative * 2**64))
            share /= n
            cumulative += share
    return np.array(limits, np.uint64)


POISSON_LIMITS = _poisson_limits()
