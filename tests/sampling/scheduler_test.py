"""What is sampled does not depend on how it was scheduled, and its log-probs are those of one whole pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Given, SamplingError, Stream, TurnSettings
from vigorl_jax.testing.sampling import (
    IMAGE_SETTINGS,
    Plan,
    random_given,
    random_image,
    roll_out,
    stop_at,
    teacher_forced,
)

GRIDS = ([(1, 4, 6)], [(1, 4, 4), (1, 2, 6)], [], [(1, 8, 4)])
SAMPLED = TurnSettings(9, temperature=0.8)
TRUNCATED = TurnSettings(7, temperature=1.3, top_k=5)
TURNS = (SAMPLED, TRUNCATED, TurnSettings(5))


def _plans(config, turns=TURNS, group=2):
    """`group` episodes on each of four prompts; the second and third turns follow text with or without a crop."""
    rng = np.random.default_rng(0)
    plans = []
    for example, grids in enumerate(GRIDS):
        prompt = random_given(rng, config, grids)
        for episode in range(group):
            crops = [[(1, 4, 4)] if (example + episode + turn) % 2 else [] for turn in range(1, len(turns))]
            given = (prompt, *(random_given(rng, config, crop) for crop in crops))
            plans.append(Plan(Stream(7, 3, example, episode), given, turns))
    return plans


def _assert_equal(transcripts, others):
    for ours, other in zip(transcripts, others, strict=True):
        assert ours.tokens == other.tokens
        for (_, turn), (_, other_turn) in zip(ours.turns, other.turns, strict=True):
            assert turn.reason == other_turn.reason
            np.testing.assert_allclose(turn.logprobs, other_turn.logprobs, atol=1e-5)


@pytest.fixture(scope="module")
def sampled(plain):
    """Transcripts of eight episodes in four slots, and the account."""
    scheduler = plain.scheduler()
    return roll_out(scheduler, _plans(plain.config)), scheduler.account


def test_logprobs_are_those_of_one_pass_over_the_whole_dialogue(plain, sampled):
    logits = teacher_forced(plain.config, plain.params)
    banned = decoding.banned_tokens(plain.config)
    for transcript in sampled[0]:
        whole = np.where(banned, -np.inf, logits(transcript))
        for settings, (start, turn) in zip((SAMPLED, TRUNCATED), transcript.turns[:2], strict=True):
            before = whole[start - 1 : start - 1 + len(turn.tokens)] / settings.temperature
            rows = np.arange(len(turn.tokens))
            np.testing.assert_allclose(
                turn.logprobs, jax.nn.log_softmax(before)[rows, turn.tokens], atol=1e-5
            )
            if settings.top_k:
                before = np.where(before >= np.sort(before)[:, [-settings.top_k]], before, -np.inf)
            np.testing.assert_allclose(
                turn.truncated_logprobs, jax.nn.log_softmax(before)[rows, turn.tokens], atol=1e-5
            )


def test_rows_in_full_slots_equal_rows_sampled_one_at_a_time(plain, sampled):
    alone = [roll_out(plain.scheduler(), [plan])[0] for plan in _plans(plain.config)]
    _assert_equal(sampled[0], alone)


def test_the_order_of_submission_changes_nothing(plain, sampled):
    backwards = roll_out(plain.scheduler(), _plans(plain.config)[::-1])
    _assert_equal(sampled[0], backwards[::-1])


def test_shared_prompts_equal_copied_ones(shared, sampled):
    _assert_equal(sampled[0], roll_out(shared.scheduler(), _plans(shared.config)))


def test_a_prompt_is_read_once_for_its_group_and_an_image_once_for_all(plain, sampled):
    assert sampled[1].prompts == len(GRIDS)


def test_an_extension_equals_a_prefill_of_the_whole_dialogue(plain, sampled):
    greedy = TurnSettings(6, temperature=0.0)
    transcripts = roll_out(plain.scheduler(), _plans(plain.config, (greedy, greedy), group=1))
    for transcript in transcripts:
        start, second = transcript.turns[1]
        whole = Given(np.int32(transcript.tokens[:start]), tuple(transcript.images))
        plan = Plan(Stream(0, 0, 0, 0), (whole,), (greedy,))
        (at_once,) = roll_out(plain.scheduler(), [plan])
        assert at_once.turns[0][1].tokens.tolist() == second.tokens.tolist()
        np.testing.assert_allclose(at_once.turns[0][1].logprobs, second.logprobs, atol=1e-5)


def test_every_number_of_a_stream_changes_what_is_sampled(plain):
    prompt = random_given(np.random.default_rng(0), plain.config, [])
    streams = [
        Stream(0, 0, 0, 0),
        Stream(1, 0, 0, 0),
        Stream(0, 1, 0, 0),
        Stream(0, 0, 1, 0),
        Stream(0, 0, 0, 1),
    ]
    plans = [Plan(stream, (prompt,), (TurnSettings(12),)) for stream in streams]
    texts = {tuple(transcript.tokens) for transcript in roll_out(plain.scheduler(), plans)}
    assert len(texts) == len(streams)


def test_numbers_of_a_stream_that_do_not_fit_are_refused():
    with pytest.raises(
        SamplingError, match=r"example 4294967296 of a stream; wanted a number from 0 to 2\^32 - 1"
    ):
        Stream(0, 0, 1 << 32, 0)


def test_turns_end_at_a_stop_or_at_their_limit(plain, sampled):
    longest = max(sampled[0], key=lambda transcript: len(transcript.turns[0][1].tokens))
    start, turn = longest.turns[0]
    assert turn.reason == "length"
    assert len(turn.tokens) == SAMPLED.max_tokens
    assert turn.room == plain.shapes.cache - start - len(turn.tokens)
    plan = _plans(plain.config)[sampled[0].index(longest)]
    stop = int(turn.tokens[3])
    (stopped,) = roll_out(plain.scheduler(stops=stop_at(plain.config, stop)), [plan])
    first = turn.tokens.tolist().index(stop)
    assert stopped.turns[0][1].reason == "stop"
    assert stopped.turns[0][1].tokens.tolist() == turn.tokens[: first + 1].tolist()


def test_a_row_that_ends_early_gives_its_slot_to_the_next(plain):
    limits = [1, 2, 3, 40] * 4
    prompt = random_given(np.random.default_rng(0), plain.config, [])
    plans = [Plan(Stream(0, 0, 0, i), (prompt,), (TurnSettings(limit),)) for i, limit in enumerate(limits)]
    scheduler = plain.scheduler(stops=stop_at(plain.config))
    roll_out(scheduler, plans)
    assert scheduler.account.sampled == sum(limits)
    # In lock-step each of four batches takes 39 steps of four slots.
    assert scheduler.account.row_steps < 0.6 * 4 * 4 * 39


def test_logits_that_are_not_numbers_name_the_row(plain):
    broken = jax.tree.map(lambda x: x, plain.params)
    broken["language_model"]["norm"]["scale"] = plain.params["language_model"]["norm"]["scale"] * np.nan
    scheduler = plain.scheduler(params=broken)
    scheduler.submit(_plans(plain.config)[0].given[0], Stream(1, 2, 3, 4), SAMPLED)
    with pytest.raises(
        SamplingError, match=r"episode 0 \(Stream\(seed=1, step=2.*turn 0: the logits were not"
    ):
        scheduler.poll()


def test_images_that_cannot_be_kept_together_are_read_in_turn(plain, sampled):
    shapes = dataclasses.replace(plain.shapes, image_tokens=8)  # the prompts' images take 6, 7 and 8
    images = ImageStore(plain.config, shapes, IMAGE_SETTINGS, jnp.float32)
    _assert_equal(sampled[0], roll_out(plain.scheduler(images=images), _plans(plain.config)))
    large = random_given(np.random.default_rng(0), plain.config, [(1, 6, 6)])
    with pytest.raises(SamplingError, match="images of 9 tokens, 8 embeddings can be kept"):
        plain.scheduler(images=images).submit(large, Stream(0, 0, 0, 0), SAMPLED)


def _text(n):
    return Given(np.full(n, 5, np.int32))


def test_what_does_not_fit_is_refused_with_its_numbers(plain):
    image = random_image(np.random.default_rng(0), (1, 4, 6))
    token = plain.config.image_token_id
    refused = {
        "a prompt of 65 tokens, the longest shape is 64": (_text(65), SAMPLED),
        "5 image tokens but the 1 images need 6": (Given(np.int32([5, *[token] * 5]), (image,)), SAMPLED),
        "hold 6 image tokens but the 0 images": (Given(np.int32([token] * 6)), SAMPLED),
        r"ids from 5 to 320 for a vocabulary of 320": (Given(np.int32([5, 320])), SAMPLED),
        r"shape \(0,\)": (Given(np.int32([])), SAMPLED),
        "5 images, 4 are allowed": (Given(np.int32([*[token] * 6, 3] * 5), (image,) * 5), SAMPLED),
        "max_tokens 0": (_text(4), TurnSettings(0)),
        "repetition_penalty 1.2, but the shapes leave it out": (
            _text(4),
            TurnSettings(5, repetition_penalty=1.2),
        ),
    }
    for message, (given, settings) in refused.items():
        with pytest.raises(SamplingError, match=f"episode 0 .*{message}"):
            plain.scheduler().submit(given, Stream(0, 0, 0, 0), settings)


def test_an_extension_that_does_not_fit_is_refused_and_the_episode_can_still_end(plain):
    scheduler = plain.scheduler(stops=stop_at(plain.config))
    ticket = scheduler.submit(_text(60), Stream(0, 0, 0, 0), TurnSettings(50))
    with pytest.raises(SamplingError, match="episode 0 is still in its turn"):
        scheduler.release(ticket)
    (turn,) = scheduler.poll()
    assert turn.room == 128 - 110
    with pytest.raises(SamplingError, match="a piece of 33 tokens, the longest shape is 32"):
        scheduler.extend(ticket, _text(32), SAMPLED)
    with pytest.raises(SamplingError, match="128 tokens, the cache of a row holds 128"):
        scheduler.extend(ticket, _text(18), SAMPLED)
    scheduler.extend(ticket, _text(17), TurnSettings(50))
    (turn,) = scheduler.poll()
    assert (len(turn.tokens), turn.reason, turn.room) == (1, "length", 0)
    scheduler.release(ticket)
    with pytest.raises(SamplingError, match="episode 0 has been released or never submitted"):
        scheduler.extend(ticket, _text(1), SAMPLED)
    assert scheduler.poll() == []
