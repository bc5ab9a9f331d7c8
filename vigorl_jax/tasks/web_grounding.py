"""Web grounding (OS-ATLAS, ScreenSpot): point at the element of a screenshot that a description means."""

from vigorl_jax.tasks import answers
from vigorl_jax.tasks.answers import Point
from vigorl_jax.tasks.example import Box, Example
from vigorl_jax.tasks.task import Task, ZoomPreset

# The setting of the official data, evaluation and demo, and the other one of its RL script (B33).
ZOOM = ZoomPreset(offset=100, side=512, dot=True)
RL_ZOOM = ZoomPreset(offset=50, side=384, dot=True)


def is_inside(point: Point, box: Box) -> bool:
    """Whether x0 <= x <= x1 and y0 <= y <= y1: all edges count, as in ScreenSpot and the official scorer.

    For a half-open pixel box this admits one more column and row than the box covers; published numbers
    include it.
    """
    x, y = point
    x0, y0, x1, y1 = box
    return x0 <= x <= x1 and y0 <= y <= y1


def read(answer: str, example: Example) -> Point | None:
    """The point that the answer gives, in the frame that the answer uses; None for none, or several."""
    del example  # A point reads the same whatever was asked.
    return answers.point(answer)


def accuracy(answer: str, example: Example) -> float:
    """1.0 when the point lies in a box of the example, or in the box that its reference text gives, else 0.0.

    The answer and the example must be in the same pixel frame: map the boxes of the example to model pixels
    first.

    Raises:
      ValueError: the example has neither boxes nor a reference text of the form `(x0, y0, x1, y1)`.
    """
    boxes = example.boxes or ((reference,) if (reference := answers.box(example.answer)) else ())
    if not boxes:
        raise ValueError(
            f"Example {example.id!r}: web grounding needs boxes, or a reference such as (10, 20, 110, 60); "
            f"got {example.answer!r}."
        )
    point = read(answer, example)
    return float(point is not None and any(is_inside(point, box) for box in boxes))


def reference_text(box: Box) -> str:
    """The box as reference text, cut to whole pixels as the official code does.

    `reference_text((10.9, 20, 110, 60))` is `"(10, 20, 110, 60)"`.
    """
    return "(" + ", ".join(str(int(value)) for value in box) + ")"


def question_text(description: str) -> str:
    """The user's request in the layout of the released data."""
    return f"Description: {description.strip()}"


TASK = Task(
    name="web_grounding",
    reward_family="point",
    zoom=ZOOM,
    goal="locate the area, element or object on a screen that a description refers to",
    inputs=("The user gives a screenshot and a description.",),
    reasoning=("Compare the candidates on the screen with each part of the description.",),
    answer_rules=(
        "The answer is one point, written (x, y) in whole pixels of the screenshot.",
        "Give a single point, the most precise one that you can, and nothing else.",
    ),
    right_answer="(412, 96)",
    wrong_answer="near (412, 96) or (430, 96)",
    guidance=(
        "Aim at the centre of the target, or at a representative point if its centre is not part of it.",
        "If the description is ambiguous, infer the element that is most likely meant.",
    ),
    read=read,
    accuracy=accuracy,
)
