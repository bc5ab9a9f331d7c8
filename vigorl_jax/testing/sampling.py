"""Random episodes for samplers, a loop that drives them, and the log-probs of what came out by teacher forcing."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.buckets import bucket
from vigorl_jax.processing.patches import Patches, normalise, pack_patches
from vigorl_jax.processing.settings import Grid, ImageSettings
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.qwen25vl.inputs import text_inputs
from vigorl_jax.qwen25vl.model import Params, bind
from vigorl_jax.qwen25vl.patch_layout import patch_layout
from vigorl_jax.qwen25vl.vision import PatchBatch
from vigorl_jax.sampling import stops
from vigorl_jax.sampling.requests import FinishedTurn, Given, Image, Stream, TurnSettings
from vigorl_jax.sampling.scheduler import EpisodeSampler
from vigorl_jax.testing.models import random_dialogue

IMAGE_SETTINGS = ImageSettings()


@dataclasses.dataclass(frozen=True)
class Plan:
    """One episode as a test wants it: what is given before each turn, and how each turn is sampled."""

    stream: Stream
    given: tuple[Given, ...]
    settings: tuple[TurnSettings, ...]


@dataclasses.dataclass
class Transcript:
    """One episode as it was sampled.

    Attributes:
      tokens: of the whole dialogue, given and sampled.
      images: in order.
      turns: each with the index of its first token in `tokens`.
    """

    tokens: list[int]
    images: list[Image]
    turns: list[tuple[int, FinishedTurn]]


def random_image(rng: np.random.Generator, grid: Grid) -> Image:
    """An image of random bytes."""
    count = grid[1] * grid[2]
    channels_and_area = 3 * IMAGE_SETTINGS.patch_size**2
    pixels = np.zeros((bucket(count), channels_and_area), np.uint8)
    pixels[:count] = rng.integers(0, 256, (count, channels_and_area))
    return Image.of(Patches(jnp.asarray(pixels), (grid,)))


def random_given(rng: np.random.Generator, config: Config, grids: Sequence[Grid]) -> Given:
    """Random text with images of these grids in it."""
    tokens = np.concatenate([random_dialogue(rng, config, list(grids)), rng.integers(0, 300, 2)])
    return Given(tokens.astype(np.int32), tuple(random_image(rng, grid) for grid in grids))


def stop_at(config: Config, *ids: int) -> stops.StopTable:
    """Stops at these ids alone."""
    return stops.build([b""] * config.text.vocab_size, [], ids)


def roll_out(sampler: EpisodeSampler, plans: Sequence[Plan]) -> list[Transcript]:
    """Samples all episodes as planned, as fast as the sampler hands them out; transcripts in the plans' order."""
    transcripts = [Transcript([], [], []) for _ in plans]
    number = {}
    for i, plan in enumerate(plans):
        _add(transcripts[i], plan.given[0])
        number[sampler.submit(plan.given[0], plan.stream, plan.settings[0])] = i
    while finished := sampler.poll():
        for turn in finished:
            plan, transcript = plans[number[turn.ticket]], transcripts[number[turn.ticket]]
            transcript.turns.append((len(transcript.tokens), turn))
            transcript.tokens.extend(turn.tokens.tolist())
            following = turn.turn + 1
            if following == len(plan.given):
                sampler.release(turn.ticket)
            else:
                _add(transcript, plan.given[following])
                sampler.extend(turn.ticket, plan.given[following], plan.settings[following])
    return transcripts


def _add(transcript: Transcript, given: Given) -> None:
    transcript.tokens.extend(np.asarray(given.tokens).tolist())
    transcript.images.extend(given.images)


def pixels(images: Sequence[Image], length: int) -> jax.Array:
    """Normalised patches [length, pixels] of the images, one after the other."""
    return normalise(pack_patches([image.patches for image in images], length=length), IMAGE_SETTINGS)


def teacher_forced(config: Config, params: Params) -> Callable[[Transcript], np.ndarray]:
    """A function from a transcript to the logits [L, V] of one pass over its whole dialogue."""
    forward = jax.jit(lambda params, *arrays: bind(config, params)(*arrays))

    def logits(transcript: Transcript) -> np.ndarray:
        grids = [image.grid for image in transcript.images]
        layout = patch_layout(grids, config.vision) if grids else None
        inputs = text_inputs([(np.int32(transcript.tokens), grids)], config, layout)
        arrays = [jnp.asarray(x) for x in (inputs.tokens, inputs.positions, inputs.image_slots)]
        images = (
            PatchBatch.from_layout(pixels(transcript.images, layout.source.size), layout) if grids else None
        )
        return np.asarray(forward(params, *arrays, images))[0, : len(transcript.tokens)]

    return logits
