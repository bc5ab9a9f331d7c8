"""Gradients of the losses through the tiny model: what shape a batch has changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.sampling.decoding import banned_tokens
from vigorl_jax.testing.models import random_params, tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.advantages import group_normalised, rate
from vigorl_jax.training.batch import collate, pack
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.logprobs import score, score_hidden
from vigorl_jax.training.losses import Loss, Objective, grpo_loss, sft_loss

TINY = tiny_config()
# One layer of three: the others add time, not differences (9e-7 with all three).
CONFIG = dataclasses.replace(TINY, text=dataclasses.replace(TINY.text, num_layers=1))
BANNED = banned_tokens(CONFIG)
ADVANTAGES = [1.0, -0.5, 0.25, -1.5, 0.75, 0.5]


@jax.jit
def encode(params, patches):
    return bind(CONFIG, params).visual(patches)


# Compiling is what takes time here.
@functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
def gradients(params, embeds, batch, is_supervised):
    """((gradients of parameters and of image embeddings), Loss) of one micro-batch.

    Old log-probs differ from the policy's by up to 0.5, by token: both clips are met.
    """

    def total(params, embeds):
        scores = score(bind(CONFIG, params), batch, embeds, banned=BANNED)
        old = jax.lax.stop_gradient(scores.log_probs) + 0.5 * jnp.sin(batch.targets.tokens)
        learned = grpo_loss(scores, batch.targets, Objective(kl_coefficient=0.0), old=old)
        loss = sft_loss(scores, batch.targets)
        chosen = jax.tree.map(lambda a, b: jnp.where(is_supervised, a, b), loss.objective, learned.objective)
        return chosen.total, Loss(chosen, learned.metrics)

    return jax.grad(total, argnums=(0, 1), has_aux=True)(params, embeds)


def learn(problem, batches, is_supervised=False):
    """Gradient and metrics of all micro-batches together."""
    *_, params, embeds = problem
    parts = [gradients(params, embeds, batch, is_supervised) for batch in batches]
    gradient, loss = jax.tree.map(lambda *x: sum(x), *parts)
    values = {name: mean.value for name, mean in loss.metrics.items()} | {"loss": loss.objective.value}
    return jax.tree.map(lambda g: g / loss.objective.weight, gradient), values


def difference(ours, expected):
    """|ours - expected| / |expected| of all numbers of two gradients."""
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (ours, expected)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


@pytest.fixture(scope="module")
def problem(make_episode, shared_view):
    """Six episodes, some with crops, two of them on one image; parameters; image embeddings."""
    turns = [[4], [3, 5], [6], [2, 2, 3], [5], [4, 4]]
    views = [shared_view, shared_view, None, None, None, None]
    episodes = [make_episode(i, t, view=view) for i, (t, view) in enumerate(zip(turns, views, strict=True))]
    images, params = ImageTable(episodes, CONFIG), random_params(CONFIG, 0)
    embeds = encode(params, images.patch_batch(IMAGE_SETTINGS))
    return episodes, images, params, embeds


@pytest.mark.parametrize("is_supervised", [True, False], ids=["sft", "grpo"])
def test_packing_and_the_number_of_micro_batches_change_nothing(problem, is_supervised):
    episodes, images, *_ = problem
    padded = functools.partial(collate, episodes, images, CONFIG, advantages=ADVANTAGES)
    expected, expected_metrics = learn(problem, padded(), is_supervised)
    assert float(expected_metrics["clipped/high"]) * float(expected_metrics["clipped/low"]) > 0
    packed = pack(episodes, images, CONFIG, length=80, advantages=ADVANTAGES, count=2)
    assert packed[0].tokens.shape == (1, 80)
    # The last two of four times two rows are empty.
    for batches in (packed, padded(count=4)):
        ours, metrics = learn(problem, batches, is_supervised)
        assert difference(ours, expected) < 1e-6
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), metrics, expected_metrics
        )


def test_a_group_of_equal_rewards_has_exactly_no_gradient(problem):
    episodes, images, *_ = problem
    scored = [dataclasses.replace(episode, reward={"overall": 0.1}) for episode in episodes]
    advantages = [rated.advantage for rated in rate([scored], group_normalised)]
    batches = collate(scored, images, CONFIG, advantages=advantages)
    gradient, _ = learn(problem, batches)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_only_hidden_states_before_sampled_tokens_get_a_gradient(problem):
    """Neither given text nor images nor padding, and no target of an advantage of 0."""
    episodes, images, *_ = problem
    (batch,) = pack(episodes, images, CONFIG, length=80, advantages=[1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    targets = jax.tree.map(jnp.asarray, batch.targets)
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(*batch.tokens.shape, 8)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(8, len(BANNED))), jnp.float32)

    def total(hidden):
        scores = score_hidden(lambda x: x @ kernel, hidden, targets, banned=BANNED)
        return grpo_loss(scores, targets, Objective(kl_coefficient=0.0)).objective.total

    learned = np.zeros(batch.tokens.shape, bool)
    rows = np.arange(len(learned))[:, None] + 0 * batch.targets.sources
    counted = batch.targets.mask & (batch.targets.advantages != 0)
    learned[rows[counted], batch.targets.sources[counted]] = True
    gradient = np.asarray(jax.jit(jax.grad(total))(hidden))
    np.testing.assert_array_equal(gradient.any(axis=-1), learned)
    assert learned.sum() == sum(int(episode.mask.sum()) for episode in episodes) - 8
    assert not learned[batch.image_slots >= 0].any()
