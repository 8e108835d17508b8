# SPDX-License-Identifier: Apache-2.0
"""Places on a line that are as near as can be to those wished for, in their order and far enough apart."""

__all__ = ["settled"]

from collections.abc import Sequence


def settled(wishes: Sequence[float], weights: Sequence[float], distances: Sequence[float]) -> list[float]:
    """The places with the least weighted sum of squared differences to ``wishes``.

    ``distances[i]`` is the least distance between the places ``i`` and ``i + 1``. With the distances taken off this is
    isotonic regression, which pooling adjacent violators solves exactly.
    """
    offsets = [0.0]
    for distance in distances:
        offsets.append(offsets[-1] + distance)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for wish, weight, offset in zip(wishes, weights, offsets, strict=False):
        mean, total, count = wish - offset, weight, 1
        while pools and pools[-1][0] >= mean:
            before, its_weight, its_count = pools.pop()
            mean = (mean * total + before * its_weight) / (total + its_weight)
            total, count = total + its_weight, count + its_count
        pools.append((mean, total, count))
    means = [mean for mean, _, count in pools for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=False)]
