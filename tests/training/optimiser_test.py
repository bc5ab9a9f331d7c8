"""The optimizers follow PyTorch's, schedules their formulas, and no tiny update is lost to rounding."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import traverse_util

from vigorl_jax.training.optimiser import (
    OptimiserSettings,
    learning_rate,
    optimiser,
    with_kahan_summation,
)

SHAPES = {
    "language_model": {
        "embed": {"embedding": (7, 4)},
        "layers": {"0": {"mlp": {"up": {"kernel": (4, 6), "bias": (6,)}}, "post_norm": {"scale": (4,)}}},
    },
    "lm_head": {"kernel": (4, 7)},
}
KERNEL = "language_model/layers/0/mlp/up/kernel"


def random_tree(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def run(settings, steps, start=None):
    """Parameters after `steps` updates with random gradients, from random parameters."""
    transform, params = optimiser(settings), start or random_tree(0)
    state, update = transform.init(params), jax.jit(transform.update)
    for step in range(steps):
        updates, state = update(random_tree(step + 1), state, params)
        params = optax.apply_updates(params, updates)
    return params


def torch_run(settings, steps, make):
    """The same with PyTorch: `make` gives optimizers from tensors by path."""
    paths, tree = jax.tree.flatten_with_path(random_tree(0))
    tensors = {
        "/".join(key.key for key in path): torch.nn.Parameter(torch.tensor(leaf)) for path, leaf in paths
    }
    optimizers, rate = make(tensors), learning_rate(settings)
    for step in range(steps):
        for tensor, gradient in zip(tensors.values(), jax.tree.leaves(random_tree(step + 1)), strict=True):
            tensor.grad = torch.tensor(gradient)
        if settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(tensors.values(), settings.max_grad_norm)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = float(rate(step))
            optimizer.step()
    return jax.tree.unflatten(tree, [tensor.detach().numpy() for tensor in tensors.values()])


def torch_adamw(tensors, settings, decays):
    groups = [
        {"params": [t], "weight_decay": settings.weight_decay if decays(path) else 0.0}
        for path, t in tensors.items()
    ]
    return torch.optim.AdamW(groups, lr=1.0, betas=(settings.b1, settings.b2), eps=settings.eps)


@pytest.mark.parametrize(
    ("decayed", "decays"),
    [
        ("all", lambda path: True),
        ("matrices", lambda path: path.endswith(("kernel", "embedding"))),
        ("kernels", lambda path: path.endswith("up/kernel")),
    ],
)
def test_adamw_follows_pytorch(decayed, decays):
    settings = OptimiserSettings(
        learning_rate=0.02,
        weight_decay=0.1,
        decayed=decayed,
        schedule="cosine",
        warmup_steps=2,
        total_steps=6,
    )
    theirs = torch_run(settings, 5, lambda tensors: [torch_adamw(tensors, settings, decays)])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), run(settings, 5), theirs)


def test_muon_follows_pytorch_on_the_kernels_of_layers_and_adamw_elsewhere():
    settings = OptimiserSettings("muon", learning_rate=0.02, weight_decay=0.1, decayed="matrices")

    def make(tensors):
        others = {path: tensor for path, tensor in tensors.items() if path != KERNEL}
        muon = torch.optim.Muon([tensors[KERNEL]], lr=1.0, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        return [muon, torch_adamw(others, settings, lambda path: path.endswith(("kernel", "embedding")))]

    def flat(tree):
        return traverse_util.flatten_dict(tree, sep="/")

    start, first, theirs = flat(random_tree(0)), flat(run(settings, 1)), flat(torch_run(settings, 1, make))
    # PyTorch orthogonalises in bfloat16. After its first step it looks ahead (Nesterov) by another formula.
    moved = np.linalg.norm(theirs[KERNEL] - start[KERNEL])
    assert np.linalg.norm(first[KERNEL] - theirs[KERNEL]) < 0.03 * moved
    ours, theirs = flat(run(settings, 4)), flat(torch_run(settings, 4, make))
    for path in set(ours) - {KERNEL}:
        np.testing.assert_allclose(ours[path], theirs[path], atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]),
        ("cosine", [0.5, 1, 1, 0.2 + 0.8 * (0.5 + 0.5**1.5), 0.6, 0.2 + 0.8 * (0.5 - 0.5**1.5), 0.2, 0.2]),
    ],
)
def test_a_schedule_rises_from_its_first_update_on_and_declines_to_its_fraction(schedule, expected):
    settings = OptimiserSettings(
        learning_rate=3.0, schedule=schedule, warmup_steps=2, total_steps=6, final_fraction=0.2
    )
    rates = [float(learning_rate(settings)(count)) for count in range(8)]
    np.testing.assert_allclose(rates, 3 * np.array(expected), rtol=1e-6)


def test_without_warm_up_the_first_update_has_the_whole_rate():
    for schedule in ("constant", "linear", "cosine"):
        settings = OptimiserSettings(learning_rate=3.0, schedule=schedule, total_steps=5)
        assert float(learning_rate(settings)(0)) == 3.0


def test_bfloat16_weights_with_kahan_summation_follow_float32_through_tiny_updates():
    """1,000 updates of 1e-4 on weights near 1, which bfloat16 keeps in steps of 1/128 or 1/256."""
    start = {"kernel": np.linspace(0.5, 2.0, 16, dtype=np.float32)}
    exact = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(np.float32) - 0.1, start)
    gradient, ends = {"kernel": jnp.ones(16)}, {}
    for name, transform in {
        "plain": optax.sgd(1e-4),
        "kahan": with_kahan_summation(optax.sgd(1e-4)),
    }.items():
        params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), start)

        def step(_, carry, transform=transform):
            updates, state = transform.update(gradient, carry[1], carry[0])
            return optax.apply_updates(carry[0], updates), state

        loop = jax.jit(lambda carry, step=step: jax.lax.fori_loop(0, 1000, step, carry))
        params, _ = loop((params, transform.init(params)))
        ends[name] = np.asarray(params["kernel"], np.float32)
    np.testing.assert_allclose(ends["kahan"], exact["kernel"], atol=1 / 128)
    assert np.abs(ends["plain"] - exact["kernel"]).min() > 0.09


def test_kahan_summation_keeps_moments_in_float32():
    transform = with_kahan_summation(optimiser(OptimiserSettings()))
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16)}
    lost, inner = jax.eval_shape(transform.init, params)
    assert lost["kernel"].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(inner) if x.ndim} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sgd"}, "kind is 'sgd'; choose one of adamw, muon"),
        ({"schedule": "step"}, "schedule is 'step'; choose one of constant, linear, cosine"),
        ({"decayed": "none"}, "decayed is 'none'; choose one of all, matrices, kernels"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; give at least 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0; give more than 0, or None"),
        ({"schedule": "cosine"}, "total_steps is None with a cosine schedule and 0 steps of warm-up"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OptimiserSettings(), **changes)
