"""Each surrogate on numbers worked by hand: value, gradient, and what is said to be clipped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.training import divergences
from vigorl_jax.training.batch import Targets
from vigorl_jax.training.surrogates import ClippedRatio, ClippedWeight, SequenceRatio, importance_weights


def targets(advantages, episodes=None):
    """One row of counted tokens with these advantages."""
    zeros = jnp.zeros((1, len(advantages)), jnp.int32)
    return Targets(
        tokens=zeros,
        sources=zeros,
        mask=zeros == 0,
        episodes=zeros if episodes is None else jnp.array([episodes]),
        advantages=jnp.array([advantages], jnp.float32),
        sampler_log_probs=zeros.astype(jnp.float32),
        row_episodes=2,
    )


def evaluate(surrogate, ratios, advantages, episodes=None):
    """Losses, gradients with respect to the log-probs (old = 0), and the clips, of one row."""
    rows = targets(advantages, episodes)
    log_probs = jnp.log(jnp.array([ratios], jnp.float32))

    @jax.jit
    def total(log_probs):
        contributions = surrogate(log_probs, jnp.zeros_like(log_probs), rows)
        return contributions.losses.sum(), contributions

    gradient, (losses, clipped) = jax.grad(total, has_aux=True)(log_probs)
    return losses[0], gradient[0], {name: flags[0].tolist() for name, flags in clipped.items()}


def test_the_clipped_ratio_is_that_of_the_official_code():
    ratios, advantages = [1.0, 1.5, 0.5, 0.5, 1.5, 5.0, 7.0], [1, 1, 1, -1, -1, -1, 0]
    losses, gradients, clipped = evaluate(ClippedRatio(), ratios, advantages)
    np.testing.assert_allclose(losses, [-1, -1.28, -0.5, 0.8, 1.5, 3, 0], rtol=1e-6)
    # Where nothing is clipped: -A r.
    np.testing.assert_allclose(gradients, [-1, 0, -0.5, 0, 1.5, 0, 0], rtol=1e-6)
    assert clipped == {
        "high": [False, True, *[False] * 5],
        "low": [False] * 3 + [True] + [False] * 3,
        "dual": [False] * 5 + [True, False],
    }


def test_without_a_dual_clip_the_loss_of_a_bad_token_grows_with_its_ratio():
    losses, gradients, clipped = evaluate(ClippedRatio(dual=None), [5.0], [-2])
    assert (float(losses[0]), float(gradients[0])) == (pytest.approx(10), pytest.approx(10))
    assert "dual" not in clipped


def test_gspo_clips_the_geometric_mean_of_an_episode():
    """Ratios 2 and 1/8 of the first episode have the mean 1/2, those of the second 4."""
    ratios, episodes = [2, 0.125, 4, 4], [0, 0, 1, 1]
    losses, gradients, clipped = evaluate(SequenceRatio(0.6, 1.0), ratios, [1, 1, 1, 1], episodes)
    np.testing.assert_allclose(losses, [-0.5, -0.5, -2, -2], rtol=1e-6)
    # d(-s) / d log p = -s / 2 for each of two tokens, which both contribute it.
    np.testing.assert_allclose(gradients, [-0.5, -0.5, 0, 0], rtol=1e-6)
    assert clipped == {"high": [False, False, True, True], "low": [False] * 4}


def test_cispo_clips_the_weight_and_keeps_the_gradient():
    _, gradients, clipped = evaluate(ClippedWeight(high=0.5), [1, 4, 0.1], [2, 2, -1])
    np.testing.assert_allclose(gradients, [-2, -2 * 1.5, 0.1], rtol=1e-6)
    assert clipped == {"high": [False, True, False], "low": [False] * 3}
    _, gradients, _ = evaluate(ClippedWeight(high=0.5, low=0.2), [0.1], [-1])
    np.testing.assert_allclose(gradients, [0.8], rtol=1e-6)


@pytest.mark.parametrize("surrogate", [ClippedRatio(), SequenceRatio(), ClippedWeight(0.2)])
def test_at_ratio_one_every_surrogate_has_the_gradient_of_reinforce(surrogate):
    advantages = [1.5, -0.5, 0.25, 0.0]
    _, gradients, _ = evaluate(surrogate, [1.0] * 4, advantages, [0, 1, 0, 1])
    expected = (
        [-0.875, 0.25, -0.875, 0.25] if isinstance(surrogate, SequenceRatio) else np.negative(advantages)
    )
    np.testing.assert_allclose(gradients, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "surrogate", [ClippedRatio(), ClippedRatio(dual=None), SequenceRatio(), ClippedWeight(0.2)]
)
def test_huge_ratios_give_finite_losses_and_gradients(surrogate):
    gaps, advantages = np.meshgrid([-1e30, -1e3, 1e3, 1e30], [-1.0, 0.0, 1.0])
    rows = targets(advantages.ravel().tolist())

    @jax.jit
    def total(log_probs):
        return surrogate(log_probs, jnp.zeros_like(log_probs), rows).losses.sum()

    value, gradient = jax.value_and_grad(total)(jnp.asarray(gaps.reshape(1, -1), jnp.float32))
    assert np.isfinite(float(value))
    assert np.isfinite(gradient).all()


def test_importance_weights_are_truncated_and_have_no_gradient():
    old, sampler = jnp.log(jnp.array([[0.2, 0.5, 0.1]])), jnp.log(jnp.array([[0.1, 0.1, 0.2]]))
    np.testing.assert_allclose(importance_weights(old, sampler, 2.0), [[2, 2, 0.5]], rtol=1e-6)
    assert not jax.grad(lambda old: importance_weights(old, sampler, 9.0).sum())(old).any()


def test_divergences_are_the_published_estimators():
    gaps = jnp.array([[-1.0, 1.0, -3.0, 0.0]])  # log policy - log reference
    zero = jnp.zeros_like(gaps)
    np.testing.assert_allclose(divergences.k1(gaps, zero), gaps)
    np.testing.assert_allclose(divergences.k2(gaps, zero), [[0.5, 0.5, 4.5, 0]])
    np.testing.assert_allclose(divergences.k3(gaps, zero), [[0.71828, 0.36788, 10, 0]], atol=1e-5)


def test_estimators_average_to_the_divergence_of_two_distributions():
    """k1 and k3 exactly, in expectation under the policy."""
    policy, reference = jnp.log(jnp.array([[0.5, 0.3, 0.2]])), jnp.log(jnp.array([[0.2, 0.2, 0.6]]))
    expected = float((jnp.exp(policy) * (policy - reference)).sum())
    for estimate in (divergences.k1, divergences.k3):
        assert float((jnp.exp(policy) * estimate(policy, reference)).sum()) == pytest.approx(
            expected, rel=1e-6
        )


def test_the_clamped_divergence_is_finite_with_a_zero_gradient_far_out():
    gaps = jnp.array([[-1e4, -3e38, 1e4, 3e38]])
    gradient = jax.grad(lambda x: divergences.k3(x, jnp.zeros_like(x)).sum())(gaps)
    assert divergences.k3(gaps, jnp.zeros_like(gaps)).tolist() == [[10.0] * 4]
    assert not gradient.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ClippedRatio(low=-0.1),
            r"ClippedRatio clips at 1 - -0.1 and 1 \+ 0.28; give low within 0 and 1",
        ),
        (lambda: SequenceRatio(high=-1), "SequenceRatio clips at"),
        (lambda: ClippedWeight(high=0.2, low=2), "ClippedWeight clips at"),
        (
            lambda: ClippedRatio(dual=1.2),
            r"ClippedRatio.dual is 1.2; give more than 1 \+ high = 1.28, or None",
        ),
    ],
)
def test_clips_that_exclude_one_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
