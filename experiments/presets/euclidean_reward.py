"""The reward of Table A9, as a user's own: accuracy falls with the distance instead of ending at the box.

The paper prints no formula. Here accuracy is exp(-d / 100), where d is the distance in pixels of the image as the model
sees it from the point to the middle of the box; 100 pixels is the side of a zoom of these runs. The format term and the
weights are those of `point_grounded`, which it replaces.
"""

import math

from vigorl_jax.reasoning import rewards
from vigorl_jax.tasks import answers

_SCALE = 100.0


def compute_score(prediction: str, answer: str) -> dict[str, float]:
    """0.5 accuracy + 0.5 format: 50 pixels off, with points in the thoughts, give 0.5 x 0.607 + 0.5 = 0.803."""
    parts = dict(rewards.score("point_grounded", prediction, answer))
    point, box = answers.point(answers.extract_or_all(prediction)), answers.box(answer)
    accuracy = 0.0
    if point is not None and box is not None:
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        accuracy = math.exp(-math.dist(point, middle) / _SCALE)
    return {**parts, "accuracy": accuracy, "overall": 0.5 * accuracy + 0.5 * parts["format"]}
