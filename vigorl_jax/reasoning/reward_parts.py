"""What a reward returns: named parts, of which `overall` is the reward and the others are for the log."""

import math
import numbers
from collections.abc import Mapping

from immutabledict import immutabledict

RewardParts = Mapping[str, float]

REQUIRED = ("overall", "format", "accuracy")


def parts(**values: float) -> RewardParts:
    """The parts as an immutable mapping of floats, in the order given."""
    return immutabledict({name: float(value) for name, value in values.items()})


def validated(source: str, value: object) -> RewardParts:
    """The return value of a user's reward as RewardParts.

    Args:
      source: What returned it, for the message.
      value: The value returned.

    Raises:
      ValueError: it is not a mapping, lacks one of overall, format and accuracy, or holds something other
        than finite numbers.
    """
    wanted = 'return a dict such as {"overall": 1.0, "format": 1.0, "accuracy": 1.0}'
    if not isinstance(value, Mapping):
        raise ValueError(f"{source} returned {type(value).__name__}; {wanted}.")
    missing = [name for name in REQUIRED if name not in value]
    if missing:
        raise ValueError(f"{source} returned no {', '.join(missing)}; {wanted}.")
    for name, number in value.items():
        if not isinstance(name, str) or not _is_finite_number(number):
            raise ValueError(
                f"{source} returned {name!r}: {number!r}; every part must be a finite number: {wanted}."
            )
    return parts(**value)


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An int or fraction beyond the range of float.
        return False
