"""Means over examples with an interval that says how far chance may have moved them."""

import dataclasses
import math
from collections.abc import Sequence

# Two-sided 95 % of the normal distribution.
Z_95 = 1.959964


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
      value: The mean over examples.
      low, high: Bounds of the interval of 95 %.
      examples: How many examples it rests on.
    """

    value: float
    low: float
    high: float
    examples: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.examples})"


def accuracy(outcomes: Sequence[Sequence[float]]) -> Estimate:
    """Mean accuracy over examples, each the mean of its samples, with Wilson's interval.

    Samples of one example are alike and count less than as many examples: Wilson's formula takes the number of
    independent draws that would scatter as the examples do (the effective size of E. Korn and B. Graubard, 1998), at
    least the number of examples. With one sample an example, right or wrong, it is Wilson's interval.

    8 of 10 examples right, one sample each, give 0.8 (0.490 to 0.943); the same with every sample drawn twice and
    equal gives the same.

    Args:
      outcomes: For each example the accuracy of each of its samples, 0 to 1.

    Raises:
      ValueError: no examples, one without samples, or an accuracy outside of 0 to 1.
    """
    means = [_mean(samples) for samples in outcomes]
    if not means:
        raise ValueError("the accuracy over no examples; give at least one")
    count, value = len(means), math.fsum(means) / len(means)
    spread = math.fsum((mean - value) ** 2 for mean in means) / count
    draws = count if spread == 0 else max(count, count * value * (1 - value) / spread)
    return Estimate(value, *wilson(value, draws), count)


def wilson(share: float, draws: float) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share that was found in so many independent draws.

    0 of 10 give 0 to 0.278; 8 of 10 give 0.490 to 0.943.
    """
    z2 = Z_95**2 / draws
    centre = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def _mean(samples: Sequence[float]) -> float:
    if not samples or not all(0 <= sample <= 1 for sample in samples):
        raise ValueError(f"accuracies {list(samples)} of an example; give at least one, each from 0 to 1")
    return math.fsum(samples) / len(samples)
