"""Settings of what is asked and how: data, validation, episodes, sampling, rewards."""

import dataclasses
from typing import Literal

from vigorl_jax import rollout
from vigorl_jax.reasoning import calls, stored_prompts
from vigorl_jax.reasoning.calls import CallForm
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import ZoomSettings
from vigorl_jax.runs import contradictions
from vigorl_jax.runs.bad_records import BadRecordSettings
from vigorl_jax.runs.fields import check, number
from vigorl_jax.runs.tiny_world import lexicon

CALL_FORMS: dict[str, CallForm] = {
    "point": calls.POINT_CALL,
    "point_in_any_image": calls.POINT_IN_ANY_IMAGE_CALL,
    "box": calls.BOX_CALL,
    "fractional_box": calls.FRACTIONAL_BOX_CALL,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which examples a run reads, and in which order.

    Attributes:
      datasets: Names in the catalog of data sets; glyph_search/LEVEL is generated, without files.
      weights: Share of each data set among the examples; empty for every example equally often.
      data_dir: Root of the prepared data sets.
      split: Split of each data set, or a slice of one such as train[500:].
      shuffle_seed: Seed of the order, which is a new one in each epoch.
      bad: How many records may be unusable, for a missing image, say.
    """

    datasets: tuple[str, ...]
    weights: tuple[float, ...] = ()
    data_dir: str | None = None
    split: str = "train"
    shuffle_seed: int = number(0, least=0)
    bad: BadRecordSettings = dataclasses.field(default=BadRecordSettings(), metadata={"prefix": "bad_"})

    def __post_init__(self) -> None:
        """Refuses what cannot be read."""
        check(self)
        contradictions.of_data(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationSettings:
    """What is asked in validation.

    Attributes:
      datasets: As for training; empty for no validation.
      split: Split of each, or a slice of one.
      size: Most examples of each data set; the first of the split.
      samples: Episodes of each example; their mean counts.
      temperature, top_p: How they are sampled.
      at_start: Whether the run begins with a validation.
    """

    datasets: tuple[str, ...] = ()
    split: str = "val"
    size: int = number(512, least=1)
    samples: int = number(1, least=1)
    temperature: float = number(0.5, least=0)
    top_p: float = number(1.0, above=0, most=1)
    at_start: bool = True

    def __post_init__(self) -> None:
        """Refuses values out of bounds."""
        check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeSettings:
    """How episodes are held.

    Attributes:
      condition: Answer alone, after thinking, with points in the thoughts, or with zooms.
      prompt: System message: own (our wording for task and condition), tiny (that of the tiny model), checkpoint (that
        of the model's chat template), stored (supervised only: that of each dialogue), or a text file.
      call_form: Layout of the tool calls.
      limits: How long an episode may become.
      max_prompt_tokens: Most tokens of an opening, images included; examples with more count as unusable.
      forces_answer: Whether the last turn begins inside the answer tags.
      max_pixels: Greatest area of an image as the model sees it; none for that of the model directory.
      zoom: How zooms are cut.
    """

    condition: Condition = Condition.MULTITURN
    prompt: str = "own"
    call_form: Literal["point", "point_in_any_image", "box", "fractional_box"] = "point"
    limits: Limits = dataclasses.field(default_factory=Limits)
    max_prompt_tokens: int = number(4096, least=1)
    forces_answer: bool = True
    max_pixels: int | None = number(None, least=28 * 28)
    zoom: ZoomSettings = dataclasses.field(metadata={"prefix": "zoom_"})

    def __post_init__(self) -> None:
        """Refuses a condition and limits that contradict each other."""
        check(self)
        contradictions.of_episodes(self)

    def system_message(self, model_dir: str) -> str | None:
        """The system message; None for "own" and "stored", which the task or the dialogue says.

        Raises:
          FileNotFoundError, ValueError: there is none in the file or in the model directory.
        """
        match self.prompt:
            case "own" | "stored":
                return None
            case "tiny":
                return lexicon.SYSTEMS[self.condition]
            case "checkpoint":
                return stored_prompts.from_checkpoint(model_dir)
        return stored_prompts.from_file(self.prompt)

    def plan(self, task: str, system: str | None = None) -> rollout.Plan:
        """The plan of a task, with what `system_message` says."""
        return rollout.plan(
            task,
            self.condition,
            limits=self.limits,
            system=system,
            form=CALL_FORMS[self.call_form],
            zoom_settings=self.zoom,
            forces_answer=self.forces_answer,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """How much is rolled out in a step, and how turns are sampled.

    Attributes:
      examples_per_step: Examples of a step, over all processes.
      group_size: Episodes of each example.
      temperature: Divides the logits.
      top_p: Keeps the likeliest tokens up to this sum; 1 is off.
      slots: Episodes that a device samples at once.
      least_rows: Episodes that one call reads for at least, padded where there are fewer: the more, the fewer programs
        are compiled, where calls are cheap.
    """

    examples_per_step: int = number(128, least=1)
    group_size: int = number(8, least=2)
    temperature: float = number(1.0, above=0)
    top_p: float = number(1.0, above=0, most=1)
    slots: int = number(128, least=1)
    least_rows: int = number(1, least=1)

    def __post_init__(self) -> None:
        """Refuses values out of bounds; a group of one has no advantage."""
        check(self)

    @property
    def episodes_per_step(self) -> int:
        """Episodes of a step, over all processes."""
        return self.examples_per_step * self.group_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """What episodes are rewarded for.

    Attributes:
      reward: A name in `reasoning.rewards`, or a reward of one's own as file.py:function; none for that of each
        example's task in the condition.
      reward_preset: The official code's rewards exactly, or the corrected ones.
      diversity_bonus: Whether further zooms earn 0.2 each; multi-turn only.
    """

    reward: str | None = None
    reward_preset: Literal["published", "gated"] = "gated"
    diversity_bonus: bool = True

    def __post_init__(self) -> None:
        """Refuses unknown rewards."""
        check(self)
        contradictions.of_reward(self)
