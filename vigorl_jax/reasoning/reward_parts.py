"""What a reward returns: named parts, of which `overall` is the reward and the others are for the log."""

import math
import numbers
from collections.abc import Mapping

from immutabledict import immutabledict

RewardParts = Mapping[str, float]

REQUIRED = ("overall", "format", "accuracy")
# Of the rewards of several turns, and the bonus for each zoom behind the first that looks elsewhere; published values.
_ACCURACY_WEIGHT, _FORMAT_WEIGHT = 0.6, 0.4
BONUS_PER_ZOOM = 0.2


def parts(**values: float) -> RewardParts:
    """The parts as an immutable mapping of floats, in the order given."""
    return immutabledict({name: float(value) for name, value in values.items()})


def multi_turn(accuracy: float, zooms: int | None, distinct: int, diversity: float) -> RewardParts:
    """0.6 accuracy + 0.4 format, where format is 1 + diversity: three distinct zooms and a right answer give 1.16.

    Args:
      accuracy: Of the answer.
      zooms: How many calls there are; None for a dialogue that does not follow the format, which is then 0.
      distinct: How many of them look elsewhere than those before.
      diversity: Bonus for further zooms.
    """
    term = 0.0 if zooms is None else 1.0 + diversity
    return parts(
        overall=_ACCURACY_WEIGHT * accuracy + _FORMAT_WEIGHT * term,
        format=term,
        accuracy=accuracy,
        diversity=diversity,
        zooms=float(zooms or 0),
        distinct_zooms=float(distinct),
    )


def without_diversity(reward: RewardParts) -> RewardParts:
    """What `multi_turn` gives where further zooms earn nothing: format 1.2 becomes 1, overall 1.08 becomes 1."""
    bonus = reward.get("diversity", 0.0)
    changed = {"overall": reward["overall"] - _FORMAT_WEIGHT * bonus, "format": reward["format"] - bonus}
    return parts(**{**reward, **changed})


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


def problem(error: Exception) -> str:
    """What a reward raised, for a message that says on what it was called: a ValueError speaks for itself.

    `problem(KeyError("mine"))` is "KeyError: 'mine'".
    """
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # An int or fraction beyond the range of float.
        return False
