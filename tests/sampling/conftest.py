"""One small model and samplers of it, compiled once for all tests of sampling."""

import types

import jax.numpy as jnp
import pytest

from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.testing.models import random_config, random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS, stop_at

SEED = 2


def _world(shapes: Shapes, seed: int = SEED) -> types.SimpleNamespace:
    config = random_config(seed)
    sampler, params = Sampler(config, shapes), random_params(config, seed)

    def scheduler(params=params, stops=None, images=None) -> Scheduler:
        images = images or ImageStore(config, shapes, IMAGE_SETTINGS, jnp.float32)
        return Scheduler(sampler, params, images, stops or stop_at(config, *config.eos_token_id))

    return types.SimpleNamespace(
        config=config, params=params, shapes=shapes, sampler=sampler, scheduler=scheduler
    )


@pytest.fixture(scope="session")
def make_world():
    """A function that makes a model of a seed and a sampler of it, not yet compiled."""
    return _world


@pytest.fixture(scope="session")
def plain() -> types.SimpleNamespace:
    """Rows with their own copies of prompts."""
    return _world(
        Shapes(
            slots=4,
            cache=128,
            prompt_lengths=(64,),
            extend_lengths=(32,),
            image_tokens=256,
            chunk=8,
            max_images=4,
            least_read=64,
        )
    )


@pytest.fixture(scope="session")
def shared() -> types.SimpleNamespace:
    """Rows that share prompts."""
    return _world(
        Shapes(
            slots=4,
            cache=96,
            prompt_lengths=(64,),
            extend_lengths=(32,),
            image_tokens=256,
            chunk=8,
            prefixes=3,
            group=2,
            least_read=48,
        )
    )
