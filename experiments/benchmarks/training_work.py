"""Work of a whole step: every call that the scheduler and the learner make on a job, counted without computing it.

The real scheduler, prompt book and image store run, with a sampler that keeps shapes and draws nothing.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.processing.patches import Patches
from vigorl_jax.qwen25vl import flops
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.patch_layout import Grid, PatchLayout, patch_layout
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Given, Image, Stream, TurnSettings
from vigorl_jax.sampling.sampler import Decoded, Pieces, Prefilled
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.sampling.slots import Emitted, Turns
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, Plan, roll_out, stop_at
from vigorl_jax.training import step_flops
from vigorl_jax.training.packing import packed_rows
from vigorl_jax.training.step_flops import VISUAL_SEARCH, Job

SLOTS, ROW_MULTIPLE = 256, 128
CALL_TOKENS = 2  # of a crop: its two markers


def run(config: Config, small: Config, job: Job = VISUAL_SEARCH, *, slots: int = SLOTS) -> dict:
    """Petaflops of a step by part, beside the counts of the job.

    Args:
      config: of the model that is counted.
      small: a config of the same patches, windows and special tokens, in whose shapes the scheduler runs.
      job: what is done.
      slots: of the sampler.
    """
    rolled = sampler_calls(small, job, slots)
    parts = sampler_flops(config, rolled.calls) | learner_flops(config, job, rolled)
    needed = {name: getattr(step_flops, name)(config, job) for name in ("naive", "shared", "lean")}
    total = sum(parts.values())
    return {
        **{f"{name}_pflop": value / 1e15 for name, value in needed.items()},
        "ours_pflop": total / 1e15,
        "ours_by_part_pflop": {name: value / 1e15 for name, value in parts.items()},
        "times_lean": total / needed["lean"],
    }


@dataclasses.dataclass(frozen=True)
class Rolled:
    """What a roll out of the job leaves.

    Attributes:
      calls: (step, shape...) with how often.
      lengths: tokens of the episodes.
      unseen: grids of the images whose embeddings the learner does not find among those that the sampler has made.
    """

    calls: Counter
    lengths: list[int]
    unseen: list[Grid]


def sampler_calls(config: Config, job: Job, slots: int) -> Rolled:
    """The roll out of the job, whose sampler keeps what it has seen for the learner.

    Turns have 2/3 to 4/3 of their mean length, so that rows fall out of step as they do in earnest.
    """
    rng, turns = np.random.default_rng(0), len(job.crops) + 1
    mean = job.sampled_tokens // turns
    crops = [_tokens([crop], config) + CALL_TOKENS for crop in job.crops]
    opening = job.opening(config.vision)
    shapes = Shapes(
        slots=slots,
        cache=sum(crops) + 2 * turns * mean,
        prompt_lengths=(_rounded(opening),),
        extend_lengths=(_rounded(max(crops) + 1),),
        image_tokens=slots * max(crops) + (slots // job.group + 1) * opening,
        prefixes=slots // job.group + 1,
        group=job.group,
    )
    images, seen = _DryImages(config, shapes, IMAGE_SETTINGS, np.dtype(np.float32)), SeenImages()
    images.at_version("dry", seen)
    sampler = _DrySampler(config, shapes, images.calls)
    plans = []
    for example in range(job.examples):
        first = _given(config, job.image, job.prompt_tokens - 2, f"{example}")
        for episode in range(job.group):
            following = [
                _given(config, crop, CALL_TOKENS - 2, f"{example}/{episode}/{i}")
                for i, crop in enumerate(job.crops)
            ]
            drawn = rng.integers(2 * mean // 3, 4 * mean // 3 + 1, turns)
            plans.append(
                Plan(
                    Stream(0, 0, example, episode),
                    (first, *following),
                    tuple(TurnSettings(int(n)) for n in drawn),
                )
            )
    transcripts = roll_out(Scheduler(sampler, {}, images, stop_at(config)), plans)
    shown = {id(image.patches): image for transcript in transcripts for image in transcript.images}
    unseen = [image.grid for image in shown.values() if seen.find(image.patches) is None]
    return Rolled(images.calls, [len(transcript.tokens) for transcript in transcripts], unseen)


def sampler_flops(config: Config, calls: Counter) -> dict[str, int]:
    """Operations of the calls at the sizes of `config`, by step."""
    parts: Counter[str] = Counter()
    for (step, *shape), times in calls.items():
        parts[step] += times * _call_flops(config, step, *shape)
    return {f"sampler_{step}": value for step, value in parts.items()}


def learner_flops(config: Config, job: Job, rolled: Rolled) -> dict[str, int]:
    """The update on packed rows, and the tower's pass before it over images that the sampler has not left encoded."""
    lengths = rolled.lengths
    length = -(-max(lengths) // ROW_MULTIPLE) * ROW_MULTIPLE
    rows = len(packed_rows(lengths, length))
    targets = bucket(job.sampled_tokens * -(-len(lengths) // rows))
    tower = sum(
        step_flops.tower_call(config.vision, *patch_layout([grid], config.vision).bucket)
        for grid in rolled.unseen
    )
    return {
        "learner_tower": tower,
        "learner_update": step_flops.update_call(config.text, rows, length, targets),
    }


def _call_flops(config: Config, step: str, rows: int, tokens: int, cached: int = 0) -> int:
    if step == "tower":
        return step_flops.tower_call(config.vision, rows, tokens)
    text = step_flops.text_call(config.text, rows, tokens, cached)
    return text + flops.logits_flops(config.text, rows)


def _rounded(tokens: int) -> int:
    return -(-tokens // 64) * 64


def _tokens(grids: Sequence[Grid], config: Config) -> int:
    return sum(h * w for _, h, w in grids) // config.vision.spatial_merge_size**2


def _given(config: Config, grid: Grid, text: int, key: str) -> Given:
    tokens = [
        config.vision_start_token_id,
        *[config.image_token_id] * _tokens([grid], config),
        config.vision_end_token_id,
        *[0] * text,
    ]
    return Given(np.int32(tokens), (Image(Patches(np.zeros((0, 1), np.uint8), (grid,)), key),))


class _DryImages(ImageStore):
    """Finds room for embeddings and notes the buckets, but encodes nothing."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls: Counter = Counter()

    def _add_batch(self, params, images: Sequence[Image], rows: int) -> None:
        layout: PatchLayout = patch_layout([image.grid for image in images], self.config.vision, rows=rows)
        self._allot(images, layout)
        units = layout.source.size // self.config.vision.spatial_merge_size**2
        self._keep(images, jnp.zeros((units, 1)), layout)
        self.calls["tower", *layout.bucket] += 1


@dataclasses.dataclass
class _DryRows:
    """How far each slot is in its turn."""

    limits: np.ndarray
    drawn: np.ndarray


class _DrySampler:
    """The steps of `Sampler`, which note their shapes and count tokens; every turn lasts to its limit."""

    def __init__(self, config: Config, shapes: Shapes, calls: Counter):
        self.config, self.shapes, self.calls = config, shapes, calls

    def prepare(self, params):
        return params

    def empty_slots(self, dtype) -> _DryRows:
        return _DryRows(*(np.zeros(self.shapes.slots, np.int32) for _ in range(2)))

    def prefill(self, params, embeds, pieces: Pieces) -> Prefilled:
        self.calls["prefill", *pieces.tokens.shape] += 1
        return Prefilled((), pieces.lengths, None, None)

    def share(self, slots: _DryRows, prefilled: Prefilled, prompts) -> tuple[_DryRows, None]:
        return slots, None

    def place(self, slots: _DryRows, prefilled, sources, prompts, turns: Turns, table):
        return self._begin(slots, turns)

    def extend(self, params, embeds, slots: _DryRows, given: Pieces, turns: Turns, table, *, read: int):
        self.calls["extend", *given.tokens.shape, read + self._shared()] += 1
        return self._begin(slots, turns)

    def decode(self, params, slots: _DryRows, members, places, table, max_steps, leave_after, *, read: int):
        before = slots.drawn.copy()
        turning = slots.drawn < slots.limits
        left = np.sort((slots.limits - slots.drawn)[turning])
        steps = int(min(max_steps, left[min(leave_after, len(left)) - 1]))
        slots.drawn = np.where(turning, np.minimum(slots.drawn + steps, slots.limits), slots.drawn)
        self.calls["decode", self.shapes.slots, 1, read + self.shapes.chunk + self._shared()] += steps
        active = slots.drawn < slots.limits
        nothing = np.zeros_like(active)
        emitted = self._emitted((steps, self.shapes.slots))
        return slots, Decoded(emitted, slots.drawn - before, active, nothing, nothing, np.int32(steps))

    def _begin(self, slots: _DryRows, turns: Turns) -> tuple[_DryRows, Emitted]:
        real = turns.slots < self.shapes.slots
        slots.limits[turns.slots[real]], slots.drawn[turns.slots[real]] = turns.limits[real], 1
        return slots, self._emitted(turns.slots.shape)

    def _shared(self) -> int:
        return self.shapes.prompt_lengths[-1] if self.shapes.prefixes else 0

    def _emitted(self, shape: tuple[int, ...]) -> Emitted:
        return Emitted(np.zeros(shape, np.int32), *(np.zeros(shape, np.float32) for _ in range(2)))
