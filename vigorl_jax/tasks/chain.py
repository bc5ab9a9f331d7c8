"""A chain of grounded thoughts as plain data: what a teacher hands over, before anyone decides how it is written."""

import dataclasses

Point = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Thought:
    """One reasoning step.

    Attributes:
      text: The step in words, its point included.
      point: (x, y) in pixels of the image as the model sees it: where to look.
    """

    text: str
    point: Point


@dataclasses.dataclass(frozen=True)
class Chain:
    """Thoughts that lead to an answer.

    Attributes:
      thoughts: The steps in order, each followed by a look at its point where zooms are allowed.
      conclusion: The last words before the answer.
      answer: The answer as text.
    """

    thoughts: tuple[Thought, ...]
    conclusion: str
    answer: str
