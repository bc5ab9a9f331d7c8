"""Chunks change nothing but memory, and scores are those of the whole model's logits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.sampling.decoding import banned_tokens
from vigorl_jax.testing.models import random_params, tiny_config
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.batch import Targets, collate, pack
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.logprobs import score, score_hidden

CONFIG = tiny_config()
ROWS, WIDTH = 2, 8


def problem(vocabulary, columns, dtype=jnp.float32):
    """Hidden states, a head, tokens, and which ids are banned (1 and the last)."""
    rng = np.random.default_rng(vocabulary)
    hidden = jnp.asarray(rng.normal(size=(ROWS, columns, WIDTH)), dtype)
    kernel = jnp.asarray(rng.normal(size=(WIDTH, vocabulary)), dtype)
    tokens = jnp.asarray(rng.integers(2, vocabulary - 1, (ROWS, columns)), jnp.int32)
    banned = np.zeros(vocabulary, bool)
    banned[[1, -1]] = True
    return hidden, kernel, tokens, banned


def targets_of(tokens):
    """Targets that every hidden state predicts one of."""
    zeros = jnp.zeros(tokens.shape)
    sources = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return Targets(tokens, sources, zeros == 0, zeros.astype(int), zeros, zeros, row_episodes=1)


def head(kernel):
    return lambda hidden: jnp.einsum("bld,dv->blv", hidden, kernel, preferred_element_type=jnp.float32)


@functools.partial(jax.jit, static_argnames="columns_at_a_time")
def loss(hidden, kernel, tokens, banned, columns_at_a_time):
    scores = score_hidden(
        head(kernel),
        hidden,
        targets_of(tokens),
        temperature=0.7,
        banned=banned,
        max_logits=ROWS * columns_at_a_time * len(banned),
    )
    weights = jnp.arange(1.0, 1 + tokens.size).reshape(tokens.shape)
    return (weights * scores.log_probs).sum(), scores


@pytest.mark.parametrize("vocabulary", [151_936, 152_064])
def test_chunked_scores_and_gradients_are_those_of_dense_logits_in_pytorch(vocabulary):
    """7 columns in chunks of 3."""
    hidden, kernel, tokens, banned = problem(vocabulary, columns=7)
    (_, scores), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        hidden, kernel, tokens, banned, 3
    )
    x, w = (torch.tensor(np.asarray(a), dtype=torch.float64, requires_grad=True) for a in (hidden, kernel))
    logits = (x @ w / 0.7).masked_fill(torch.from_numpy(banned), -torch.inf)
    log_probs = torch.log_softmax(logits, dim=-1)
    chosen = log_probs.gather(-1, torch.tensor(np.asarray(tokens, np.int64))[..., None])[..., 0]
    torch.sum(torch.arange(1.0, 15).reshape(2, 7) * chosen).backward()
    np.testing.assert_allclose(scores.log_probs, chosen.detach(), atol=5e-6)
    entropies = torch.distributions.Categorical(
        logits=logits.detach().masked_fill(torch.from_numpy(banned), -1e9)
    ).entropy()
    np.testing.assert_allclose(scores.entropies, entropies, rtol=1e-5)
    for ours, theirs in zip(gradients, (x.grad, w.grad), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize("columns_at_a_time", [1, 5])
def test_the_size_of_chunks_changes_neither_scores_nor_gradients(columns_at_a_time):
    arguments = problem(1000, columns=7)
    graded = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    whole, chunked = graded(*arguments, 7), graded(*arguments, columns_at_a_time)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), whole, chunked)


def largest_array(jaxpr):
    """Numbers in the largest array that a program makes, inner programs included."""
    sizes = [variable.aval.size for equation in jaxpr.eqns for variable in equation.outvars]
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                sizes.append(largest_array(inner))
    return max(sizes, default=0)


def test_a_chunk_of_logits_is_the_largest_array_of_forward_and_backward_pass():
    hidden, kernel, tokens, banned = problem(1000, columns=64)

    def largest(columns_at_a_time):
        graded = jax.grad(lambda h, k: loss(h, k, tokens, banned, columns_at_a_time)[0], argnums=(0, 1))
        return largest_array(jax.make_jaxpr(graded)(hidden, kernel).jaxpr)

    assert largest(64) == ROWS * 64 * 1000
    assert largest(16) == ROWS * 16 * 1000


def test_gradients_of_a_bfloat16_head_are_summed_in_float32():
    """64 chunks: summed in bfloat16 they exceed the bound, which is about one rounding."""
    hidden, kernel, tokens, banned = problem(50, columns=64, dtype=jnp.bfloat16)
    graded = jax.grad(lambda k, width: loss(hidden, k, tokens, banned, width)[0])
    whole, chunked = (np.asarray(graded(kernel, width), np.float32) for width in (64, 1))
    assert np.abs(whole - chunked).max() < 2**-8 * np.abs(whole).max()


def test_scores_are_float32_and_finite_for_extreme_logits():
    hidden, kernel, tokens, banned = problem(50, columns=4, dtype=jnp.bfloat16)
    (_, scores), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        1e4 * hidden, kernel, tokens, banned, 2
    )
    assert {x.dtype for x in scores} == {jnp.dtype(jnp.float32)}
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in (*scores, *gradients))
    assert float(scores.entropies.max()) < 1e-3


def test_scores_of_a_packed_batch_are_those_of_each_episode_alone(make_episode):
    """Against the logits of the whole model, one episode a row."""
    episodes = [make_episode(seed, turns) for seed, turns in enumerate([[5], [3, 4], [6]])]
    images = ImageTable(episodes, CONFIG)
    (packed,), (alone,) = pack(episodes, images, CONFIG, length=64), collate(episodes, images, CONFIG)
    banned = banned_tokens(CONFIG)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def both(params, packed, alone, patches):
        model = bind(CONFIG, params)
        scores = score(model, packed, model.visual(patches), temperature=0.8, banned=banned)
        logits = model(alone.tokens, alone.positions, alone.image_slots, patches)
        return scores.log_probs, jax.nn.log_softmax(jnp.where(banned, -jnp.inf, logits / 0.8))

    params = random_params(CONFIG, 0)
    ours, dense = map(np.asarray, both(params, packed, alone, images.patch_batch(IMAGE_SETTINGS)))
    for index, episode in enumerate(episodes):
        places = np.flatnonzero(episode.mask)
        row, number = {1: (0, 0), 2: (0, 1), 0: (0, 2)}[index]
        there = packed.targets.mask[row] & (packed.targets.episodes[row] == number)
        expected = dense[index, places - 1, episode.token_ids[places]]
        np.testing.assert_allclose(ours[row, there], expected, atol=2e-5)
