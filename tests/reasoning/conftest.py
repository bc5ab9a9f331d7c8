"""What episode tests share: the byte tokenizer, a photograph as an example, and views without pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from vigorl_jax.processing.frames import Frame
from vigorl_jax.processing.patches import Patches
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning.zoom import View, make_view
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(byte_tokenizer())


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """310 x 420 smooth colours with noise: every pixel differs from its neighbours."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((420, 310))
    noisy = np.asarray(coarse, np.int16) + rng.integers(-20, 21, (310, 420, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def example(photograph) -> Example:
    buffer = io.BytesIO()
    Image.fromarray(photograph).save(buffer, "PNG")
    return Example("kite/7", "visual_search", "What colour is the kite?", "red", (buffer.getvalue(),))


@pytest.fixture(scope="session")
def blank_view():
    """Makes the view of a window of the original at width x height, without pixels."""

    def make(window, width, height) -> View:
        grid = (1, height // 14, width // 14)
        pixels = np.zeros((grid[1] * grid[2], 588), np.uint8)
        return make_view(Frame(window, width, height), Patches(pixels, (grid,)), ImageSettings())

    return make
