"""The draw follows transformers' warpers and the distributions that they leave."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from scipy import stats
from transformers.generation import logits_process as hf

from vigorl_jax.sampling import decoding
from vigorl_jax.testing.models import random_config

DRAWS = 20_000
# One shape for most tests, which compiles the draw once.
ROWS, VOCABULARY = 64, 300
# Four tokens of probability 0.4, 0.3, 0.2, 0.1.
PROBABILITIES = np.array([0.4, 0.3, 0.2, 0.1])
draw = jax.jit(decoding.draw)


def keys(rows, seed=0):
    return jax.random.split(jax.random.key(seed), rows)


def none_banned(vocabulary):
    return np.zeros(vocabulary, bool)


def draw_many(logits, *, count=ROWS, banned=None, seen=None, **values):
    """Draws `count` times from one distribution."""
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (count, len(logits)))
    seen = None if seen is None else jnp.broadcast_to(jnp.asarray(seen), rows.shape)
    banned = none_banned(len(logits)) if banned is None else banned
    return draw(rows, decoding.settings(count, **values), keys(count), banned, seen)


def warped(logits, seen, banned, temperature, top_k, top_p, min_p, penalty):
    """One row of logits through transformers' classes in the order of `generate`."""
    processors = [
        hf.RepetitionPenaltyLogitsProcessor(float(penalty)),
        hf.SuppressTokensLogitsProcessor(np.flatnonzero(banned).tolist()),
        hf.TemperatureLogitsWarper(float(temperature)),
        hf.TopKLogitsWarper(int(top_k)) if top_k else None,
        hf.TopPLogitsWarper(float(top_p)) if top_p < 1 else None,
        hf.MinPLogitsWarper(float(min_p)) if min_p else None,
    ]
    ids, scores = torch.from_numpy(np.flatnonzero(seen))[None], torch.from_numpy(logits)[None]
    for processor in filter(None, processors):
        scores = processor(ids, scores)
    return torch.log_softmax(scores[0].double(), dim=-1).numpy()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_log_probs_after_all_cuts_are_those_of_transformers(seed):
    """A kept set that differed by one token would change the normaliser, and so every log-prob."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform(0.5, 6, (ROWS, 1))
    logits = (rng.normal(size=(ROWS, VOCABULARY)) * spread).astype(np.float32)
    banned = rng.random(VOCABULARY) < 0.1
    seen = rng.random((ROWS, VOCABULARY)) < 0.2
    off = rng.random((5, ROWS)) < 0.4
    values = {
        "temperature": np.where(off[0], 1, rng.uniform(0.2, 2, ROWS)).astype(np.float32),
        "top_k": np.where(off[1], 0, rng.integers(1, VOCABULARY + 50, ROWS)),
        "top_p": np.where(off[2], 1, rng.uniform(0.01, 0.999, ROWS)).astype(np.float32),
        "min_p": np.where(off[3], 0, rng.uniform(0.001, 0.5, ROWS)).astype(np.float32),
        "repetition_penalty": np.where(off[4], 1, rng.uniform(0.5, 2, ROWS)).astype(np.float32),
    }
    drawn = draw(logits, decoding.settings(ROWS, **values), keys(ROWS), banned, seen)
    for b in range(ROWS):
        expected = warped(logits[b], seen[b], banned, *(values[name][b] for name in values))
        np.testing.assert_allclose(drawn.truncated_logprobs[b], expected[drawn.tokens[b]], atol=2e-5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.6}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.71}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"min_p": 0.4}, [4 / 9, 3 / 9, 2 / 9, 0]),
        # Of the two likeliest, the first has 4 / 7 = 0.571 and so reaches 0.55 alone.
        ({"top_k": 2, "top_p": 0.55}, [1, 0, 0, 0]),
        # exp(logit) is 1 for the first token and below for the others, whose negative logits double.
        ({"repetition_penalty": 2.0}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
    ],
    ids=str,
)
def test_draws_have_the_distribution_that_each_rule_leaves(values, expected):
    seen = np.ones(4, bool) if "repetition_penalty" in values else None
    drawn = draw_many(np.log(PROBABILITIES), count=DRAWS, seen=seen, **values)
    counts = np.bincount(drawn.tokens, minlength=4)
    expected = np.array(expected)
    assert not counts[expected == 0].any()
    if expected.max() < 1:
        kept = expected > 0
        assert stats.chisquare(counts[kept], DRAWS * expected[kept]).pvalue > 1e-3
    np.testing.assert_allclose(np.exp(drawn.truncated_logprobs), expected[drawn.tokens], rtol=1e-6)


def test_draws_from_a_large_vocabulary_have_its_distribution():
    """5,003 tokens in blocks of 157, their mass between 1 and e^-10, counted in bins of neighbours and of equals."""
    logits = np.random.default_rng(1).permutation(np.linspace(0, -10, 5003)).astype(np.float32)
    count = 4000
    tokens = np.asarray(draw_many(logits, count=count).tokens)
    expected = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    equals = np.empty(5003, int)
    equals[np.argsort(-logits)] = np.minimum(np.arange(5003) // 50, 40)
    for bins in (np.arange(5003) // 100, equals):
        pvalue = stats.chisquare(np.bincount(bins[tokens]), count * np.bincount(bins, expected)).pvalue
        assert pvalue > 1e-3


def test_a_row_draws_the_same_token_alone_and_in_any_company():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(ROWS, VOCABULARY)).astype(np.float32) * 3
    values = {
        "temperature": rng.choice([0, 0.5, 1, 2], ROWS),
        "top_p": rng.choice([1, 0.9, 0.5], ROWS),
        "top_k": rng.choice([0, 7, 600], ROWS),
    }
    row_keys, banned = keys(ROWS), none_banned(VOCABULARY)
    together = draw(logits, decoding.settings(ROWS, **values), row_keys, banned)
    for b in range(10):
        own = decoding.settings(1, **{name: value[b] for name, value in values.items()})
        alone = draw(logits[b : b + 1], own, row_keys[b : b + 1], banned)
        assert int(alone.tokens[0]) == int(together.tokens[b])
        np.testing.assert_allclose(alone.logprobs[0], together.logprobs[b], atol=1e-6)
    order = rng.permutation(ROWS)
    shuffled = decoding.settings(ROWS, **{name: value[order] for name, value in values.items()})
    moved = draw(logits[order], shuffled, row_keys[order], banned)
    np.testing.assert_array_equal(moved.tokens, np.asarray(together.tokens)[order])


def test_a_vocabulary_spread_over_devices_draws_the_same_tokens():
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(ROWS, VOCABULARY)).astype(np.float32) * 3
    settings = decoding.settings(ROWS, temperature=rng.choice([0, 1], ROWS), top_p=rng.choice([1, 0.8], ROWS))
    row_keys, banned = keys(ROWS), none_banned(VOCABULARY)
    mesh = jax.make_mesh((2, 4), ("data", "tensor"), axis_types=(AxisType.Auto,) * 2)
    spread = jax.device_put(logits, NamedSharding(mesh, PartitionSpec("data", "tensor")))
    alone, together = (draw(x, settings, row_keys, banned) for x in (logits, spread))
    np.testing.assert_array_equal(alone.tokens, together.tokens)
    np.testing.assert_allclose(alone.truncated_logprobs, together.truncated_logprobs, atol=1e-6)


def test_policy_log_probs_are_those_of_the_temperature_without_banned_tokens():
    """Two rows of three tokens, each row with its temperature, as the learner calls it."""
    logits = jnp.broadcast_to(jnp.log(jnp.array([1.0, 3.0, 9.0])), (2, 3, 3))
    tokens = jnp.broadcast_to(jnp.arange(3), (2, 3))
    banned = np.array([False, False, True])
    logprobs = decoding.policy_logprobs(logits, tokens, jnp.array([[1.0], [0.5]]), banned)
    np.testing.assert_allclose(np.exp(logprobs), [[1 / 4, 3 / 4, 0], [1 / 10, 9 / 10, 0]], rtol=1e-6)
    greedy = decoding.policy_logprobs(logits, tokens, jnp.zeros((2, 1)), banned)
    np.testing.assert_array_equal(greedy[1], logprobs[0])


def test_the_sampler_reports_the_policy_log_prob_whatever_is_cut():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(ROWS, VOCABULARY)).astype(np.float32) * 4
    banned = rng.random(VOCABULARY) < 0.2
    temperature = rng.choice([0, 0.5, 1, 1.7], ROWS)
    settings = decoding.settings(ROWS, temperature=temperature, top_p=0.8, top_k=30, repetition_penalty=1.3)
    drawn = draw(logits, settings, keys(ROWS), banned, rng.random((ROWS, VOCABULARY)) < 0.5)
    scores = np.where(banned, -np.inf, logits) / np.where(temperature == 0, 1, temperature)[:, None]
    expected = torch.log_softmax(torch.from_numpy(scores), dim=-1).numpy()
    np.testing.assert_allclose(drawn.logprobs, expected[np.arange(ROWS), drawn.tokens], atol=1e-5)
    assert (drawn.truncated_logprobs[temperature == 0] == 0).all()


def test_the_gradient_of_the_log_prob_is_finite_and_that_of_softmax():
    rng = np.random.default_rng(4)
    logits = jnp.asarray(rng.normal(size=(3, 50)), jnp.float32)
    banned = np.arange(50) >= 45
    tokens, temperature = jnp.array([1, 2, 3]), jnp.array([1.0, 0.5, 2.0])
    gradient = jax.grad(lambda x: decoding.policy_logprobs(x, tokens, temperature, banned).sum())(logits)
    probabilities = jax.nn.softmax(jnp.where(banned, -jnp.inf, logits) / temperature[:, None])
    expected = (jax.nn.one_hot(tokens, 50) - probabilities) / temperature[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_banned_tokens_are_never_drawn():
    logits = np.array([9.0, 0.0, 0.0, 0.0], np.float32)
    banned = np.array([True, False, False, True])
    assert set(np.asarray(draw_many(logits, count=DRAWS, banned=banned).tokens)) == {1, 2}
    assert set(np.asarray(draw_many(logits, count=DRAWS, banned=banned, temperature=0.0).tokens)) == {1}


def test_the_placeholders_and_markers_of_vision_are_banned():
    config = random_config(0)
    banned = decoding.banned_tokens(config)
    assert np.flatnonzero(banned).tolist() == [300, 301, 302, 303]
    assert np.flatnonzero(decoding.banned_tokens(config, text_tokens=317)).tolist() == [
        300, 301, 302, 303, 317, 318, 319,
    ]  # fmt: skip


@pytest.mark.parametrize("values", [{"top_k": 1}, {"top_p": 0.3}, {"min_p": 1.0}], ids=str)
def test_tokens_of_equal_score_are_kept_together_but_greedy_takes_the_first(values):
    logits = np.array([0.0, 2.0, 1.0, 2.0], np.float32)
    drawn = draw_many(logits, count=DRAWS, **values)
    counts = np.bincount(drawn.tokens, minlength=4)
    assert not counts[[0, 2]].any()
    assert stats.chisquare(counts[[1, 3]]).pvalue > 1e-3
    np.testing.assert_allclose(drawn.truncated_logprobs, np.log(0.5), atol=1e-6)
    assert (draw_many(logits, count=DRAWS, temperature=0.0).tokens == 1).all()


def test_the_least_settings_leave_the_likeliest_token_and_the_largest_leave_all():
    logits = np.random.default_rng(5).normal(size=VOCABULARY).astype(np.float32)
    for values in ({"top_p": 1e-9}, {"top_k": 1}, {"temperature": 1e-6}):
        drawn = draw_many(logits, **values)
        assert (drawn.tokens == logits.argmax()).all()
        np.testing.assert_allclose(drawn.truncated_logprobs, 0, atol=1e-6)
    everything = draw_many(logits)
    for values in ({"top_k": VOCABULARY}, {"top_k": 10**6}, {"top_p": 1.0}):
        np.testing.assert_array_equal(draw_many(logits, **values).tokens, everything.tokens)


def test_rows_whose_logits_are_no_numbers_say_so_and_leave_the_others_alone():
    logits = np.random.default_rng(6).normal(size=(ROWS, VOCABULARY)).astype(np.float32)
    banned = np.arange(VOCABULARY) == 50
    broken = logits.copy()
    broken[1, 7], broken[2, 7], broken[3] = np.nan, np.inf, -np.inf
    broken[4, 50] = np.nan  # banned, and so without any effect
    others = [b for b in range(ROWS) if b not in (1, 2, 3)]
    for values in ({"top_p": 0.9}, {"temperature": 0.0}, {"top_k": 3, "min_p": 0.1}):
        settings = decoding.settings(ROWS, **values)
        sound = draw(logits, settings, keys(ROWS), banned)
        drawn = draw(broken, settings, keys(ROWS), banned)
        assert np.flatnonzero(np.isnan(drawn.logprobs)).tolist() == [1, 2, 3]
        assert np.flatnonzero(np.isnan(drawn.truncated_logprobs)).tolist() == [1, 2, 3]
        assert ((drawn.tokens >= 0) & (drawn.tokens < VOCABULARY)).all()
        np.testing.assert_array_equal(np.asarray(drawn.tokens)[others], np.asarray(sound.tokens)[others])


def test_a_token_of_no_probability_is_not_drawn():
    """-inf is a score like any other: it is cut by nothing and drawn by nobody."""
    logits = np.full(VOCABULARY, -np.inf, np.float32)
    logits[[3, 200]] = 0.0
    assert set(np.asarray(draw_many(logits).tokens)) == {3, 200}
    assert set(np.asarray(draw_many(logits, top_k=250).tokens)) == {3, 200}


def test_changing_settings_compiles_nothing():
    compiled = jax.jit(lambda *args: decoding.draw(*args))
    logits, banned = np.zeros((2, 40), np.float32), none_banned(40)
    for values in ({}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": [0.2, 1.0]}, {"min_p": 0.5}):
        compiled(logits, decoding.settings(2, **values), keys(2), banned)
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": [1.0, -0.5]}, r"temperature -0.5 in row 1; give 0 \(greedy\) or"),
        ({"temperature": float("nan")}, "temperature nan in row 0"),
        ({"temperature": 1e-9}, "temperature 1e-09 in row 0"),
        ({"top_p": 0.0}, "top_p 0.0 in row 0; give a number above 0"),
        ({"top_p": 1.5}, "top_p 1.5 in row 0"),
        ({"top_k": -1}, "top_k -1 in row 0; give an integer of at least 0"),
        ({"top_k": 2.5}, "top_k 2.5 in row 0"),
        ({"min_p": 1.1}, "min_p 1.1 in row 0; give a number from 0"),
        ({"repetition_penalty": 0}, "repetition_penalty 0 in row 0; give a finite number above 0"),
        (
            {"top_p": [0.5, 0.5, 0.5]},
            r"top_p of shape \(3,\) for 2 rows; give one number or one for each row",
        ),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        decoding.settings(2, **values)


def test_a_temperature_of_zero_is_kept_as_zero():
    settings = functools.partial(decoding.settings, 2)
    assert settings(temperature=0).temperature.tolist() == [0, 0]
    assert settings().temperature.tolist() == [1, 1]
