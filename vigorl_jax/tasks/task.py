"""The Task record: what one family of examples asks for, when an answer is right, and how far to zoom.

Each task module makes one Task; `catalog` lists them; `reasoning.prompts` turns the wording into system
prompts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from vigorl_jax.tasks.example import Example


@dataclasses.dataclass(frozen=True)
class ZoomPreset:
    """The crop that a zoom brings.

    Attributes:
      offset: Half the side of the square window around the point, in pixels of the image that is cut.
      side: Requested side of the crop that the model sees, in pixels; the crop is made at the multiple of 28
        nearest to it (512 gives 504).
      dot: Whether a dot marks the point in the crop.
    """

    offset: int
    side: int
    dot: bool

    def __post_init__(self) -> None:
        """Checks that both lengths are positive whole numbers."""
        for name in ("offset", "side"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"ZoomPreset.{name} must be a whole number of at least 1, got {value!r}.")


@dataclasses.dataclass(frozen=True)
class Task:
    """One family of questions.

    Attributes:
      name: One of `example.TASKS`.
      reward_family: Which rewards fit: "text", "point" or "action".
      zoom: The crop preset of multi-turn episodes.
      goal: Prompt: what is to be done, one sentence.
      inputs: Prompt: what the user message holds, one sentence each.
      reasoning: Prompt: what each step of the reasoning has to do besides, one sentence each; may be empty.
      answer_rules: Prompt: what the answer must look like, one sentence each.
      right_answer: Prompt: an answer in the required form.
      wrong_answer: Prompt: an answer that breaks the form.
      guidance: Prompt: how to settle doubtful cases, one sentence each.
      read: (answer text, example) -> the answer as a value, or None when it cannot be read.
      accuracy: (answer text, example) -> 0 to 1; both in the same pixel frame where points are involved.
    """

    name: str
    reward_family: str
    zoom: ZoomPreset
    goal: str
    inputs: tuple[str, ...]
    reasoning: tuple[str, ...]
    answer_rules: tuple[str, ...]
    right_answer: str
    wrong_answer: str
    guidance: tuple[str, ...]
    read: Callable[[str, Example], Any]
    accuracy: Callable[[str, Example], float]
