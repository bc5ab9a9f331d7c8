"""The language model with a cache, with packed rows and with padded rows computes the same thing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.qwen25vl.text import empty_cache
from vigorl_jax.testing.models import random_config, random_params

CONFIG = random_config(1)
PARAMS = random_params(CONFIG, 1)
RNG = np.random.default_rng(0)


def _embeds(*shape):
    return jnp.asarray(RNG.normal(size=(*shape, CONFIG.text.width)), jnp.float32)


def _positions(starts, length):
    return jnp.broadcast_to(jnp.asarray(starts)[:, None] + jnp.arange(length), (3, len(starts), length))


@functools.partial(jax.jit, static_argnames="config")
def _run(params, config, x, positions, **kwargs):
    return bind(config, params).language_model(x, positions, **kwargs)


def test_pieces_behind_a_cache_equal_one_pass_over_rows_of_different_lengths():
    lengths = np.array([3, 7])
    x = _embeds(2, 12)
    whole, _ = _run(PARAMS, CONFIG, x, _positions([0, 0], 12))
    first = jnp.where((jnp.arange(7) < lengths[:, None])[..., None], x[:, :7], 99.0)  # rubbish behind the end
    rest = jnp.stack([x[b, n : n + 5] for b, n in enumerate(lengths)])
    cache = empty_cache(CONFIG.text, 2, 16, jnp.float32)
    a, cache = _run(PARAMS, CONFIG, first, _positions([0, 0], 7), cache=cache, lengths=jnp.zeros(2, int))
    b, _ = _run(PARAMS, CONFIG, rest, _positions(lengths, 5), cache=cache, lengths=jnp.asarray(lengths))
    for row, n in enumerate(lengths):
        np.testing.assert_allclose(a[row, :n], whole[row, :n], atol=1e-5)
        np.testing.assert_allclose(b[row], whole[row, n : n + 5], atol=1e-5)


def test_dialogues_packed_in_a_row_do_not_see_each_other():
    x = _embeds(1, 9)
    segments = jnp.array([[0, 0, 0, 0, 1, 1, 1, 1, 1]])
    positions = jnp.concatenate([_positions([0], 4), _positions([0], 5)], axis=-1)
    packed, _ = _run(PARAMS, CONFIG, x, positions, segments=segments)
    apart = [_run(PARAMS, CONFIG, x[:, a:b], _positions([0], b - a))[0] for a, b in ((0, 4), (4, 9))]
    np.testing.assert_allclose(packed, jnp.concatenate(apart, axis=1), atol=1e-5)


def test_padding_behind_a_row_changes_nothing_before_it():
    x = _embeds(1, 6)
    padded = jnp.concatenate([x, 50 * jnp.ones((1, 4, CONFIG.text.width))], axis=1)
    short, _ = _run(PARAMS, CONFIG, x, _positions([0], 6))
    long, _ = _run(PARAMS, CONFIG, padded, _positions([0], 10))
    np.testing.assert_allclose(long[:, :6], short, atol=1e-5)
