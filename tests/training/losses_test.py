"""The losses follow an independent PyTorch reference, reduce to simpler ones, and ignore what is not counted."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vigorl_jax.training import divergences, losses
from vigorl_jax.training.aggregation import ConstantLength, sequence_mean, token_mean
from vigorl_jax.training.batch import Targets
from vigorl_jax.training.logprobs import Scores
from vigorl_jax.training.losses import Objective, grpo_loss, sft_loss
from vigorl_jax.training.surrogates import ClippedRatio

# Tokens of the episodes of each row; the second row is shorter, the third empty.
ROWS = ((3, 5, 2), (4,), ())
COLUMNS = 12


@dataclasses.dataclass
class Tokens:
    """Random log-probs of every token of ROWS: policy, old, reference, sampler, entropy, and advantages of episodes."""

    policy: np.ndarray
    old: np.ndarray
    reference: np.ndarray
    sampler: np.ndarray
    entropies: np.ndarray
    advantages: tuple[float, ...] = (1.2, -0.7, 0.4, -1.5)


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    old = -3 * rng.random((3, COLUMNS))
    near = [old + scale * rng.normal(size=old.shape) for scale in (0.6, 1.0, 0.3)]
    return Tokens(near[0], old, near[1], near[2], rng.random(old.shape))


def as_arrays(tokens, padding=0.0):
    """(scores, targets, old, reference) as the losses take them, with `padding` where nothing is counted."""
    mask, episodes, advantages = (np.zeros((3, COLUMNS), dtype) for dtype in (bool, np.int32, np.float32))
    number = 0
    for row, lengths in enumerate(ROWS):
        start = 0
        for index, length in enumerate(lengths):
            here = row, slice(start, start + length)
            mask[here], episodes[here], advantages[here] = True, index, tokens.advantages[number]
            start, number = start + length, number + 1

    def padded(values):
        return jnp.asarray(np.where(mask, values, padding), jnp.float32)

    targets = Targets(
        tokens=jnp.zeros((3, COLUMNS), jnp.int32),
        sources=jnp.zeros((3, COLUMNS), jnp.int32),
        mask=jnp.asarray(mask),
        episodes=jnp.asarray(episodes),
        advantages=padded(advantages),
        sampler_log_probs=padded(tokens.sampler),
        row_episodes=3,
    )
    return (
        Scores(padded(tokens.policy), padded(tokens.entropies)),
        targets,
        padded(tokens.old),
        padded(tokens.reference),
    )


def reference_episodes(tokens):
    """Tensors (policy, old, reference, sampler) and the advantage of each episode, float64, without any padding."""
    episodes = []
    for row, lengths in enumerate(ROWS):
        start = 0
        for length in lengths:
            here = row, slice(start, start + length)
            values = (tokens.policy, tokens.old, tokens.reference, tokens.sampler)
            tensors = [torch.tensor(np.float32(x[here]), dtype=torch.float64) for x in values]
            episodes.append((tensors[0].requires_grad_(), *tensors[1:], tokens.advantages[len(episodes)]))
            start += length
    return episodes


def torch_clipped(policy, old, advantage, low, high, dual):
    difference = policy - old
    free, bounded = difference.exp(), difference.clamp(np.log(1 - low), np.log(1 + high)).exp()
    loss = torch.max(-advantage * free, -advantage * bounded)
    return torch.minimum(loss, torch.tensor(-advantage * dual)) if dual and advantage < 0 else loss


def torch_gspo(policy, old, advantage, low, high):
    mean = (policy - old).mean().exp()
    loss = torch.max(-advantage * mean, -advantage * mean.clamp(1 - low, 1 + high))
    return loss.expand(len(policy))


def torch_cispo(policy, old, advantage, high):
    weight = (policy - old).exp().clamp(max=1 + high).detach()
    return -weight * advantage * policy


def torch_k3(policy, reference):
    k = reference - policy
    return (k.exp() - k - 1).clamp(-10, 10)


CASES = {
    "official": (Objective(), functools.partial(torch_clipped, low=0.2, high=0.28, dual=3.0)),
    "dapo": (losses.dapo(), functools.partial(torch_clipped, low=0.2, high=0.28, dual=None)),
    "dr_grpo": (losses.dr_grpo(20), functools.partial(torch_clipped, low=0.2, high=0.2, dual=None)),
    "gspo": (losses.gspo(0.3, 0.4), functools.partial(torch_gspo, low=0.3, high=0.4)),
    "cispo": (losses.cispo(0.3), functools.partial(torch_cispo, high=0.3)),
    "sequence_mean": (
        Objective(ClippedRatio(0.1, 0.1, None), sequence_mean, divergences.k2, 0.2, importance_cap=1.5),
        functools.partial(torch_clipped, low=0.1, high=0.1, dual=None),
    ),
}


def torch_loss(tokens, objective, surrogate):
    episodes = reference_episodes(tokens)
    parts = []
    for policy, old, reference, sampler, advantage in episodes:
        loss = surrogate(policy, old, advantage)
        if objective.importance_cap:
            loss = loss * (old - sampler).exp().clamp(max=objective.importance_cap)
        if objective.kl_coefficient:
            square = 0.5 * (policy - reference) ** 2
            kl = square if objective.divergence is divergences.k2 else torch_k3(policy, reference)
            loss = loss + objective.kl_coefficient * kl
        parts.append(loss)
    if objective.aggregate is sequence_mean:
        total = torch.stack([part.mean() for part in parts]).mean()
    elif isinstance(objective.aggregate, ConstantLength):
        total = torch.stack([part.sum() / objective.aggregate.length for part in parts]).mean()
    else:
        total = torch.cat(parts).mean()
    total.backward()
    return total.item(), np.concatenate([episode[0].grad for episode in episodes])


@functools.partial(jax.jit, static_argnames="objective")
def graded(objective, scores, targets, old=None, reference=None):
    """Value, gradient with respect to log-probs after the division, and the whole Loss; None is supervised."""

    def total(log_probs):
        policy = scores._replace(log_probs=log_probs)
        if objective is None:
            result = sft_loss(policy, targets)
        else:
            result = grpo_loss(policy, targets, objective, old=old, reference=reference)
        return result.objective.total, result

    gradients, result = jax.grad(total, has_aux=True)(scores.log_probs)
    return result.objective.value, gradients / result.objective.weight, result


@pytest.mark.parametrize("case", CASES)
def test_objectives_have_the_values_and_gradients_of_pytorch(tokens, case):
    objective, surrogate = CASES[case]
    scores, targets, old, reference = as_arrays(tokens)
    value, gradients, _ = graded(objective, scores, targets, old, reference)
    expected, expected_gradients = torch_loss(tokens, objective, surrogate)
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradients[np.asarray(targets.mask)], expected_gradients, rtol=1e-5, atol=1e-7)
    assert gradients.dtype == np.float32


def test_metrics_are_means_over_counted_tokens(tokens):
    scores, targets, old, reference = as_arrays(tokens)
    _, _, loss = graded(Objective(), scores, targets, old, reference)
    mask = np.asarray(targets.mask)
    ratio = np.exp(tokens.policy - tokens.old)
    gap = tokens.old - tokens.sampler
    good = np.asarray(targets.advantages) > 0
    expected = {
        "entropy": tokens.entropies,
        "ratio": ratio,
        "sampler_gap/abs": np.abs(gap),
        "sampler_gap/kl": np.exp(gap) - 1 - gap,
        "clipped/high": good & (ratio > 1.28),
        "clipped/low": ~good & (ratio < 0.8),
        "clipped/dual": ~good & (ratio > 3),
        "kl": np.minimum(np.exp(tokens.reference - tokens.policy) - 1 - tokens.reference + tokens.policy, 10),
    }
    assert loss.metrics.keys() == expected.keys() | {"policy_loss"}
    for name, values in expected.items():
        np.testing.assert_allclose(loss.metrics[name].value, values[mask].mean(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_what_padding_holds_reaches_neither_values_nor_gradients(tokens, case):
    def run(padding):
        scores, targets, old, reference = as_arrays(tokens, padding)
        return graded(CASES[case][0], scores, targets, old, reference)

    clean, *dirty = (run(padding) for padding in (0.0, np.nan, np.inf, -np.inf))
    for value, gradients, loss in dirty:
        assert value == clean[0]
        np.testing.assert_array_equal(gradients, clean[1])
        assert not gradients[~np.asarray(as_arrays(tokens)[1].mask)].any()
        assert jax.tree.map(float, loss) == jax.tree.map(float, clean[2])


def test_advantage_one_without_clipping_is_supervised_learning(tokens):
    scores, targets, _, _ = as_arrays(dataclasses.replace(tokens, advantages=(1.0,) * 4))
    objective = Objective(ClippedRatio(dual=None), kl_coefficient=0.0)
    _, policy_gradients, loss = graded(objective, scores, targets)
    value, gradients, _ = graded(None, scores, targets)
    np.testing.assert_array_equal(policy_gradients, gradients)
    assert float(value) == pytest.approx(-tokens.policy[np.asarray(targets.mask)].mean(), rel=1e-6)
    assert float(loss.metrics["ratio"].value) == 1


def test_the_first_update_is_reinforce(tokens):
    """Without `old` the ratio is 1: the gradient is -A / (number of tokens)."""
    scores, targets, _, _ = as_arrays(tokens)
    objective = Objective(kl_coefficient=0.0)
    _, gradients, _ = graded(objective, scores, targets)
    np.testing.assert_allclose(gradients, -np.asarray(targets.advantages) / 14, rtol=1e-6)


@pytest.mark.parametrize(
    "objective",
    [
        Objective(ClippedRatio(), kl_coefficient=0.0, importance_cap=2.0),
        Objective(ClippedRatio(), ConstantLength(9), kl_coefficient=0.0),
        losses.gspo(),
        losses.cispo(0.2),
    ],
    ids=["clipped", "constant_length", "gspo", "cispo"],
)
def test_zero_advantages_give_exactly_zero_gradient(tokens, objective):
    scores, targets, old, _ = as_arrays(dataclasses.replace(tokens, advantages=(0.0,) * 4))
    value, gradients, _ = graded(objective, scores, targets, old)
    assert value == 0
    assert not gradients.any()


@pytest.mark.parametrize("aggregate", [token_mean, sequence_mean, ConstantLength(9)])
def test_losses_of_micro_batches_add_up_to_that_of_the_whole(tokens, aggregate):
    scores, targets, old, reference = as_arrays(tokens)
    objective = Objective(aggregate=aggregate)

    def loss(rows):
        arrays = jax.tree.map(lambda x: x[rows], (scores, targets, old, reference))
        return graded(objective, *arrays)[2]

    whole, parts = loss(slice(None)), [loss(slice(row, row + 1)) for row in range(3)]
    added = jax.tree.map(lambda *x: sum(x), *parts)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), added, whole)
    naive = np.mean([float(part.objective.value) for part in parts])
    assert abs(naive - float(whole.objective.value)) > 0.01


def test_means_of_nothing_are_zero(tokens):
    scores, targets, old, reference = as_arrays(tokens)
    none = dataclasses.replace(targets, mask=jnp.zeros_like(targets.mask))
    for aggregate in (token_mean, sequence_mean, ConstantLength(9)):
        objective = Objective(aggregate=aggregate)
        loss = grpo_loss(scores, none, objective, old=old, reference=reference)
        assert (float(loss.objective.value), float(loss.objective.weight)) == (0, 0)


def test_objectives_that_cannot_be_are_refused(tokens):
    scores, targets, old, _ = as_arrays(tokens)
    with pytest.raises(ValueError, match=r"kl_coefficient is 0.01 and there are no reference log-probs"):
        grpo_loss(scores, targets, Objective(), old=old)
    with pytest.raises(ValueError, match="kl_coefficient is -1; give at least 0"):
        Objective(kl_coefficient=-1)
    with pytest.raises(ValueError, match="importance_cap is 0; give more than 0"):
        Objective(importance_cap=0)
    with pytest.raises(ValueError, match="ConstantLength of 0; give the most tokens"):
        ConstantLength(0)
