"""What the backward pass computes anew changes its work, not its result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.testing.models import random_params, tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import collate
from vigorl_jax.training.image_embeds import image_embeds
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner_settings import REMAT
from vigorl_jax.training.logprobs import score

pytestmark = pytest.mark.usefixtures("quick_compiles")

CONFIG = tiny_config()


@pytest.fixture(scope="module")
def gradient(make_episode):
    """Makes the gradient of the log-probs of two episodes, as a function of all parameters, under a policy."""
    episodes = [make_episode(0, [4]), make_episode(1, [3, 5])]
    images = ImageTable(episodes, CONFIG)
    (batch,) = collate(episodes, images, CONFIG)
    patches = images.patch_batch(IMAGE_SETTINGS)
    batch = jax.tree.map(jnp.asarray, batch)

    def make(name):
        def total(params):
            model = bind(CONFIG, params)
            model.language_model.wrap_layer = model.visual.wrap_layer = REMAT[name]
            banned = np.zeros(CONFIG.text.vocab_size, bool)
            scores = score(model, batch, image_embeds(model, patches), banned=banned)
            return jnp.sum(jnp.where(batch.targets.mask, scores.log_probs, 0))

        return jax.grad(total)

    return make


def test_gradients_are_equal_under_every_policy(gradient):
    params = random_params(CONFIG, 0)
    expected = jax.jit(gradient("none"))(params)
    for name in ("dots", "full"):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max()),
            jax.jit(gradient(name))(params),
            expected,
        )


def test_policies_differ_in_the_products_that_are_computed_again(gradient):
    """Of 3 text layers and 2 vision blocks: 7 products with weights and 2 of attention each."""
    params = random_params(CONFIG, 0)
    products = {name: str(jax.make_jaxpr(gradient(name))(params)).count("dot_general") for name in REMAT}
    assert products["dots"] - products["none"] == 5 * 2
    # What comes last in a layer, its product with `down`, is not needed by its backward pass.
    assert products["full"] - products["none"] == 5 * (7 - 1 + 2)
