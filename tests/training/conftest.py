"""Random episodes for the tiny model, as a roll out would leave them."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import pytest

from vigorl_jax.processing.frames import Frame
from vigorl_jax.processing.settings import Grid
from vigorl_jax.qwen25vl.config import Config
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.turns import Answer
from vigorl_jax.reasoning.zoom import View, make_view
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing.models import tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, random_image

CONFIG = tiny_config()
# One layer of each kind: more add time to compile, not differences.
SHALLOW = dataclasses.replace(
    CONFIG,
    text=dataclasses.replace(CONFIG.text, num_layers=1),
    vision=dataclasses.replace(CONFIG.vision, depth=1, full_attention_blocks=(0,)),
)


def random_view(rng: np.random.Generator, grid: Grid) -> View:
    """A view of random pixels."""
    height, width = grid[1] * 14, grid[2] * 14
    return make_view(Frame.original(width, height), random_image(rng, grid).patches, IMAGE_SETTINGS)


def given(rng: np.random.Generator, text_tokens: int, view: View) -> Segment:
    """Random text behind an image."""
    ids = [
        CONFIG.vision_start_token_id,
        *[CONFIG.image_token_id] * view.num_tokens,
        CONFIG.vision_end_token_id,
        *rng.integers(0, 200, text_tokens).tolist(),
    ]
    return Segment(Kind.GIVEN, tuple(ids), "", (view,))


def sampled(rng: np.random.Generator, tokens: int) -> Segment:
    """A turn of random ids and log-probs."""
    ids, log_probs = rng.integers(0, 200, tokens).tolist(), (-3 * rng.random(tokens)).tolist()
    return Segment(Kind.SAMPLED, tuple(ids), "", log_probs=tuple(log_probs), action=Answer("a"))


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Episode]:
    """Makes an episode of turns with these numbers of tokens; a crop comes before each turn but the first."""

    def make(
        seed: int,
        turns: Sequence[int],
        *,
        name: str = "kite",
        view: View | None = None,
        status: Status = Status.ANSWERED,
        reward: float | None = None,
    ) -> Episode:
        rng = np.random.default_rng(seed)
        views = [view or random_view(rng, (1, 4, 6)), *(random_view(rng, (1, 4, 4)) for _ in turns[1:])]
        segments = []
        for tokens, shown in zip(turns, views, strict=True):
            segments += [given(rng, 3, shown), sampled(rng, tokens)]
        example = Example(name, "visual_search", "What?", "red", (b"png",))
        parts = {} if reward is None else {"overall": reward}
        return Episode(example, tuple(segments), status, number=seed, reward=parts)

    return make


@pytest.fixture(scope="session")
def shared_view() -> View:
    """One view for the episodes of a group."""
    return random_view(np.random.default_rng(99), (1, 6, 4))


@pytest.fixture(scope="session")
def shallow_config() -> Config:
    """The tiny model with one language layer and one vision block."""
    return SHALLOW


@pytest.fixture(scope="module")
def quick_compiles() -> Iterator[None]:
    """Leaves XLA's optimisations out, for tests that compile much and compute little."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
