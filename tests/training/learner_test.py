"""The update: what a batch looks like changes nothing, what is frozen stays, what is not finite is skipped."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.sampling.decoding import banned_tokens
from vigorl_jax.testing.compilations import compilations
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import IMAGE_SETTINGS
from vigorl_jax.training.advantages import group_normalised, rate
from vigorl_jax.training.batch import batch_shape, collate, pack
from vigorl_jax.training.image_table import ImageTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.losses import Objective
from vigorl_jax.training.optimiser import OptimiserSettings

pytestmark = pytest.mark.usefixtures("quick_compiles")

TURNS = [[4], [3, 5], [6], [2, 2, 3], [5], [4, 4]]
ADVANTAGES = [1.0, -0.5, 0.25, -1.5, 0.75, 0.5]
# With Adam's usual eps, an update is the sign of a gradient however small, and of rounding where there is none.
ADAM = OptimiserSettings(learning_rate=4e-2, warmup_steps=4, eps=1e-3, weight_decay=0.0)
# Clips that no ratio of these tests meets: nothing but the policy term moves parameters.
POLICY_TERM = Objective(kl_coefficient=0.0)


@pytest.fixture(scope="module")
def episodes(make_episode, shared_view):
    """Six episodes, some with crops, two of them on one image."""
    views = [shared_view, shared_view, None, None, None, None]
    return [
        make_episode(i, turns, view=view) for i, (turns, view) in enumerate(zip(TURNS, views, strict=True))
    ]


@pytest.fixture(scope="module")
def images(episodes, shallow_config):
    return ImageTable(episodes, shallow_config)


@pytest.fixture(scope="module")
def patches(images):
    return images.patch_batch(IMAGE_SETTINGS)


@pytest.fixture(scope="module")
def params(shallow_config):
    return random_params(shallow_config, 0)


@pytest.fixture(scope="module")
def learner(shallow_config):
    """Makes learners; those of equal settings share their compilations."""

    @functools.cache
    def make(**changes):
        settings = LearnerSettings(**({"optimiser": ADAM} | changes))
        return Learner(shallow_config, settings, banned=banned_tokens(shallow_config))

    return make


def difference(ours, expected, start):
    """|ours - expected| / |expected - start| of all numbers of parameters."""
    flat = [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)
        for tree in (ours, expected, start)
    ]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1] - flat[2])


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b)))


@pytest.mark.parametrize("frozen", ["vision", "tower", "nothing"])
def test_packing_and_the_number_of_micro_batches_change_no_update(
    frozen, learner, episodes, images, patches, params, shallow_config
):
    ours = learner(frozen=frozen, objective=POLICY_TERM)
    padded = functools.partial(collate, episodes, images, shallow_config, advantages=ADVANTAGES)
    packed = pack(episodes, images, shallow_config, length=80, advantages=ADVANTAGES, count=2)
    ends = []
    for batches in (padded(), packed) if frozen == "vision" else (padded(), padded(count=2)):
        state = ours.init(params)
        shown = ours.encode(state, patches) if len(batches) > 1 else patches
        # Old log-probs of another policy: both clips are met.
        old = [-4 + 2 * jnp.sin(batch.targets.tokens) for batch in batches]
        state, metrics = ours.update(state, batches, shown, old=old)
        ends.append((ours.params(state), metrics))
    assert ends[0][1]["clipped/high"] * ends[0][1]["clipped/low"] > 0
    for end, metrics in ends[1:]:
        assert difference(end, ends[0][0], params) < 2e-6
        assert metrics == pytest.approx(ends[0][1], rel=1e-5, abs=1e-6)


def test_the_gradient_of_the_first_policy_update_is_that_of_reinforce(
    learner, episodes, images, patches, params, shallow_config
):
    """Of -sum(A log policy) / tokens, by differences of `score` along the gradient that Adam was given."""
    ours = learner(objective=POLICY_TERM)
    batches = collate(episodes, images, shallow_config, advantages=ADVANTAGES)
    before, targets = ours.init(params), batches[0].targets
    after, metrics = ours.update(ours.init(params), batches, patches)
    moments = after.opt_state[1][0].mu
    unit = 1 / np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(moments)))
    sums = []
    for step in (1e-2, -1e-2):
        moved = jax.tree.map(lambda x, m, step=step: x + step * unit * m, before.params, moments)
        (scores,) = ours.score(dataclasses.replace(before, params=moved), batches, patches)
        policy = np.where(targets.mask, scores.log_probs, 0).astype(np.float64)
        sums.append(-(targets.advantages * policy).sum() / targets.mask.sum())
    assert (sums[0] - sums[1]) / 2e-2 == pytest.approx(metrics["grad_norm"], rel=2e-3)


def test_groups_of_equal_rewards_leave_every_parameter_as_it_is(
    learner, episodes, images, patches, params, shallow_config
):
    scored = [dataclasses.replace(episode, reward={"overall": 0.1}) for episode in episodes]
    advantages = [rated.advantage for rated in rate([scored], group_normalised)]
    ours = learner(objective=POLICY_TERM)
    state, metrics = ours.update(
        ours.init(params), collate(scored, images, shallow_config, advantages=advantages), patches
    )
    assert metrics["grad_norm"] == 0
    assert same(ours.params(state), params)
    assert int(state.step) == 1


@pytest.mark.parametrize(
    ("frozen", "parts"),
    [("vision", set()), ("tower", {"merger"}), ("nothing", {"merger", "blocks", "patch_embed"})],
)
def test_only_what_is_not_frozen_moves_and_has_optimizer_state(
    frozen, parts, learner, episodes, images, patches, params, shallow_config
):
    ours = learner(frozen=frozen)
    state, _ = ours.update(ours.init(params), collate(episodes, images, shallow_config), patches)
    moments = state.opt_state[1][0].mu
    assert set(moments.get("visual", {})) == parts
    after = ours.params(state)
    assert {
        name for name in params["visual"] if not same(after["visual"][name], params["visual"][name])
    } == parts
    assert not same(after["language_model"]["embed"], params["language_model"]["embed"])


@pytest.mark.parametrize("count", [1, 2])
def test_an_update_that_is_not_finite_changes_counters_alone(
    count, learner, episodes, images, patches, params, shallow_config
):
    ours = learner(objective=POLICY_TERM)
    good = collate(episodes, images, shallow_config, advantages=ADVANTAGES, count=count)
    bad = collate(episodes, images, shallow_config, advantages=[np.nan, *ADVANTAGES[1:]], count=count)
    state, metrics = ours.update(ours.init(params), good, patches)
    assert metrics["skipped"] == 0
    before = jax.tree.map(np.array, state)
    for consecutive in (1, 2):
        state, metrics = ours.update(state, bad, patches)
        assert metrics["skipped"] == 1
        assert np.isnan(metrics["loss"])
        assert (int(state.skipped), int(state.consecutive_skipped)) == (consecutive, consecutive)
    counters = {"skipped": before.skipped, "consecutive_skipped": before.consecutive_skipped}
    assert same(dataclasses.replace(state, **counters), before)
    state, _ = ours.update(state, good, patches)
    assert (int(state.step), int(state.skipped), int(state.consecutive_skipped)) == (2, 2, 0)


def test_a_shape_is_compiled_once_and_parameters_are_not_a_shape(
    learner, episodes, images, patches, params, shallow_config
):
    ours = learner()
    state = ours.init(params)
    for count in (1, 2):
        batches = collate(episodes, images, shallow_config, count=count)
        state, _ = ours.update(state, batches, patches)
    with compilations() as seconds:
        for count in (1, 2, 1, 2):
            # Other episodes, advantages and order; the same shapes.
            batches = collate(episodes[::-1], images, shallow_config, advantages=ADVANTAGES, count=count)
            state, _ = ours.update(state, batches, patches)
    assert not seconds


def test_the_first_micro_batch_runs_the_program_of_the_others(
    learner, episodes, images, patches, params, shallow_config
):
    ours = learner()
    ours.update(ours.init(params), collate(episodes, images, shallow_config, count=2), patches)
    assert ours._accumulate._cache_size() == 1


def test_where_their_number_varies_one_micro_batch_runs_the_programs_of_several(
    learner, episodes, images, patches, params, shallow_config
):
    ours, other = learner(accumulates=True), learner()
    half = functools.partial(collate, images=images, config=shallow_config, shape=batch_shape(episodes))
    ours.update(ours.init(params), half(episodes, count=2), patches)
    state = ours.init(params)
    with compilations() as seconds:
        state, metrics = ours.update(state, half(episodes[:3]), patches)
    assert not seconds
    expected, expected_metrics = other.update(other.init(params), half(episodes[:3]), patches)
    assert difference(ours.params(state), other.params(expected), params) < 1e-6
    assert metrics == pytest.approx(expected_metrics, rel=1e-5, abs=1e-6)


def test_a_restored_state_meets_the_programs_of_the_one_that_was_saved(
    learner, episodes, images, patches, params, shallow_config
):
    ours, batches = learner(), collate(episodes, images, shallow_config)
    state, _ = ours.update(ours.init(params), batches, patches)
    placed = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    restored = jax.tree.map(
        lambda x: jax.device_put(np.asarray(x), placed), dataclasses.replace(state, frozen={})
    )
    restored = dataclasses.replace(restored, frozen=ours.before_training(params).frozen)
    with compilations() as seconds:
        ours.update(restored, batches, patches)
    assert not seconds


def test_init_keeps_what_it_was_given_and_an_update_donates_its_state(
    learner, episodes, images, patches, params, shallow_config
):
    ours = learner()
    state = ours.init(params)
    ours.update(state, collate(episodes, images, shallow_config), patches)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((params, state.frozen)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_metrics_name_the_rate_the_norm_and_the_tokens(
    learner, episodes, images, patches, params, shallow_config
):
    ours = learner()
    state, batches = ours.init(params), collate(episodes, images, shallow_config)
    rates = []
    for _ in range(2):
        state, metrics = ours.update(state, batches, patches)
        rates.append(metrics["learning_rate"])
    assert rates == pytest.approx([0.01, 0.02])
    assert metrics["target_tokens"] == sum(map(sum, TURNS))
    assert all(type(value) is float for value in metrics.values())


def test_bfloat16_weights_and_computation_stay_near_float32(
    learner, episodes, images, patches, params, shallow_config
):
    losses = {}
    batches = collate(episodes, images, shallow_config)
    for dtype in ("float32", "bfloat16"):
        ours = learner(weights=dtype, compute_dtype=dtype)
        state, losses[dtype] = ours.init(params), []
        for _ in range(3):
            state, metrics = ours.update(state, batches, patches)
            losses[dtype].append(metrics["loss"])
        assert {leaf.dtype for leaf in jax.tree.leaves(ours.params(state))} == {jnp.dtype(dtype)}
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "float16"}, "weights is 'float16'; choose one of float32, bfloat16"),
        ({"compute_dtype": "int8"}, "compute_dtype is 'int8'; choose one of float32, bfloat16"),
        ({"remat": "some"}, "remat is 'some'; choose one of none, dots, full"),
        ({"temperature": 0.0}, "temperature is 0.0; give that of sampling, more than 0"),
    ],
)
def test_settings_that_are_not_known_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LearnerSettings(**changes)


def test_a_run_that_goes_on_needs_no_optimizer_for_the_parameters_it_began_with(learner, params):
    ours = learner()
    first, whole = ours.before_training(params), ours.init(params)
    assert first.opt_state == ()
    assert same(first.params, whole.params)
    assert same(first.frozen, whole.frozen)
    # The very memory of the given ones, not a copy.
    held, given = (
        [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)]
        for tree in (first.frozen, params["visual"])
    )
    assert held == given
