"""Latencies, counted in buckets: as much memory for a thousand as for a billion.

Law: pure arithmetic. Buckets are log-linear, as in HdrHistogram with three digits:
each power of two has 1,024 of them, so that a bucket is at most 1/1024 as wide as the
values in it are large. Two histograms merge by adding counts, and a percentile is never
smaller than the true one.
"""

from typing import Final

import msgspec

# Buckets for each power of two, and the bits which that takes.
SUB_BUCKETS: Final = 1024
_SUB_BITS: Final = 10


def bucket_of(value: int) -> int:
    """The bucket that counts this value; values below 2,048 have one each."""
    shift = value.bit_length() - _SUB_BITS - 1
    return value if shift <= 0 else (shift << _SUB_BITS) + (value >> shift)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The least and the greatest value that this bucket counts."""
    if bucket < 2 * SUB_BUCKETS:
        return bucket, bucket
    shift = (bucket >> _SUB_BITS) - 1
    lowest = (bucket - (shift << _SUB_BITS)) << shift
    return lowest, lowest + (1 << shift) - 1


class Histogram(msgspec.Struct, gc=False):
    """How often which latency was seen, in nanoseconds; `counts` is by bucket."""

    count: int = 0
    total_ns: int = 0
    max_ns: int = 0
    counts: dict[int, int] = {}

    def record(self, value_ns: int) -> None:
        """Count one latency."""
        # The same as bucket_of, without a call: this runs once for each operation.
        shift = value_ns.bit_length() - _SUB_BITS - 1
        bucket = value_ns
        if shift > 0:
            bucket = (shift << _SUB_BITS) + (value_ns >> shift)
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.count += 1
        self.total_ns += value_ns
        if value_ns > self.max_ns:
            self.max_ns = value_ns

    def add(self, other: "Histogram") -> None:
        """Count all that the other one has counted, too."""
        counts = self.counts
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        self.count += other.count
        self.total_ns += other.total_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    @property
    def mean_ns(self) -> float:
        """The exact mean; 0 of nothing."""
        return self.total_ns / self.count if self.count else 0.0

    def percentile_ns(self, percent: float) -> int:
        """A value that so many of a hundred do not exceed; 0 of nothing.

        `percent` counts to three decimals: 99.9 is not exactly a float, and must not
        become the next rank by rounding.
        """
        assert 0 <= percent <= 100
        rank = max(-(-round(percent * 1000) * self.count // 100_000), 1)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                return min(bucket_bounds(bucket)[1], self.max_ns)
        return 0
