"""A roll out with the real sampler: zooms reach the model, and its log-probs are those of one pass over the episode."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from vigorl_jax import rollout
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import turns
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.episode import Status
from vigorl_jax.reasoning.turns import Answer, Zoom
from vigorl_jax.reasoning.zoom import ZoomSettings
from vigorl_jax.runs import policy as policies
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.requests import Image, TurnSettings
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.task import ZoomPreset
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer
from vigorl_jax.testing.models import random_params, tiny_config
from vigorl_jax.testing.sampling import Transcript, teacher_forced

# One layer of each kind: compiling takes most of the time, and the sampler's own tests go deeper.
TINY = tiny_config()
CONFIG = dataclasses.replace(
    TINY,
    vision=dataclasses.replace(TINY.vision, depth=1, full_attention_blocks=()),
    text=dataclasses.replace(TINY.text, num_layers=1),
)
IMAGES = ImageSettings(max_pixels=140 * 140)
POLICY = policies.Policy(CONFIG, random_params(CONFIG, 0), Tokenizer(byte_tokenizer()), IMAGES)
PLAN = rollout.plan(
    "visual_search",
    system="Look.",
    limits=Limits(max_turns=3, max_zooms=2, max_turn_tokens=6),
    zoom_settings=ZoomSettings(ZoomPreset(offset=30, side=56, dot=True)),
)


@pytest.fixture(scope="module")
def example():
    pixels = np.random.default_rng(0).integers(0, 256, (150, 205, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return Example("kite", "visual_search", "What colour?", "red", (buffer.getvalue(),))


@pytest.fixture
def eager_reader(monkeypatch):
    """Takes every turn for a zoom, each to a new place, until the answer is forced: a random model says neither."""

    def parse(text, *, earlier_points=(), **_):
        if text.startswith("<think>"):
            return Answer("red")
        return Zoom((20 + 40 * len(earlier_points), 30))

    monkeypatch.setattr(turns, "parse", parse)


@pytest.mark.usefixtures("eager_reader")
def test_log_probs_of_zoom_episodes_are_those_of_one_pass_over_each(example):
    prompt_tokens = policies.opening_tokens(POLICY, PLAN, example)
    sampler = policies.scheduler(POLICY, [PLAN], prompt_tokens=prompt_tokens, slots=1, group_size=2)
    sampling = TurnSettings(1, temperature=0.8)
    settings = rollout.Settings({"visual_search": PLAN}, IMAGES, sampling, group_size=2)
    (group,) = rollout.collect(sampler, [example], POLICY.tokenizer, settings, seed=1)
    assert group[0].segments[0].num_tokens == prompt_tokens
    assert len({episode.turns[0].token_ids for episode in group}) == 2
    logits = teacher_forced(CONFIG, POLICY.params)
    banned = decoding.banned_tokens(CONFIG, text_tokens=POLICY.tokenizer.vocab_size)
    for episode in group:
        assert (episode.status, len(episode.turns), len(episode.crops)) == (Status.ANSWERED, 3, 2)
        images = [Image.of(view.patches) for view in episode.views]
        scores = logits(Transcript(episode.token_ids.tolist(), images, []))[:-1] / 0.8
        scores = np.where(banned, -np.inf, scores)
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        expected = np.take_along_axis(log_probs, episode.token_ids[1:, None], axis=1)[:, 0]
        sampled = episode.mask[1:] == 1
        np.testing.assert_allclose(episode.log_probs[1:][sampled], expected[sampled], atol=1e-5)
