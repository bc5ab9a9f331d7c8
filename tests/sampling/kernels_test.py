"""Turned kernels change the layout of the parameters and nothing that comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.qwen25vl.model import bind
from vigorl_jax.qwen25vl.sharding import make_mesh
from vigorl_jax.sampling import kernels
from vigorl_jax.testing.models import random_config, random_params

SEEDS = (2, 4)


def test_the_head_is_tied_in_one_of_the_models_and_apart_in_the_other():
    assert {random_config(seed).text.tie_embeddings for seed in SEEDS} == {True, False}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("length", [3, 80])  # below and above FEW_ROWS
def test_a_model_on_turned_kernels_equals_the_model(seed, length):
    config, params = random_config(seed), random_params(random_config(seed), seed)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 280, (2, length)))
    positions = jnp.broadcast_to(jnp.arange(length), (3, 2, length))

    @jax.jit
    def both(params, turned):
        models = bind(config, params), kernels.TurnedModel(config, turned)
        return [model.logits(model.language_model(model.embed(tokens), positions)[0]) for model in models]

    plain, turned = both(params, kernels.turn(params))
    assert plain.dtype == turned.dtype == jnp.float32
    np.testing.assert_allclose(turned, plain, atol=2e-6)


def test_text_kernels_are_turned_and_the_rest_is_not_copied():
    params = random_params(random_config(2), 2)
    turned = kernels.turn(params)
    gate = ("language_model", "layers", "0", "mlp", "gate", "kernel")
    for (path, before), after in zip(
        jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(turned), strict=True
    ):
        names = tuple(key.key for key in path)
        if names[0] == "visual" or names[-1] != "kernel":
            assert after is before
        else:
            np.testing.assert_array_equal(after, before.T)
        assert names != gate or after.shape == before.shape[::-1]


def test_kernels_are_turned_on_one_cpu_device_only(monkeypatch):
    assert kernels.turns_kernels(None)
    assert not kernels.turns_kernels(make_mesh(2, 2, 2))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not kernels.turns_kernels(None)
