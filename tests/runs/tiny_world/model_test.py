"""A model directory of the tiny family means the same to transformers: tokens, pixels and greedy answers."""

import dataclasses

import jax
import numpy as np
import pytest

from vigorl_jax import rollout
from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot
from vigorl_jax.processing.patches import normalise
from vigorl_jax.qwen25vl.config import load
from vigorl_jax.reasoning.dialogue import Limits
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings
from vigorl_jax.runs import policy as policies
from vigorl_jax.runs.tiny_world import dialogues, lexicon, model
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks.glyph_levels import LEVEL_1
from vigorl_jax.tasks.glyph_search import TASK, ZOOM, GlyphExamples


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    config = model.config()
    # Weights grown, so that the next token hangs on what was read before it.
    params = jax.tree.map(lambda x: 1.5 * x if x.ndim == 2 else x, model.first_params(config, 1))
    model.write_files(path, config, params, model.image_settings())
    return path


def test_the_default_model_has_0_6_million_parameters():
    config = model.config()
    assert sum(x.size for x in jax.tree.leaves(model.first_params(config, 0))) == 614_568


def test_the_written_config_reads_back(directory):
    assert load(directory) == model.config()


def test_first_weights_have_small_residual_branches():
    params = model.first_params(model.config(), 0)
    layer = params["language_model"]["layers"]["0"]
    assert np.std(layer["attn"]["o"]["kernel"]) == pytest.approx(0.1 / np.sqrt(96), rel=0.05)
    assert np.std(layer["attn"]["q"]["kernel"]) == pytest.approx(1 / np.sqrt(96), rel=0.05)
    assert np.std(params["visual"]["merger"]["fc2"]["kernel"]) == pytest.approx(0.2 / np.sqrt(256), rel=0.05)
    assert np.all(layer["attn"]["q"]["bias"] == 0)


def test_transformers_encodes_a_conversation_to_the_same_tokens(directory):
    from transformers import AutoTokenizer

    question = "Which letter is on the red circle?"
    theirs = AutoTokenizer.from_pretrained(directory)
    prompt = theirs.apply_chat_template(
        [
            {"role": "system", "content": lexicon.SYSTEMS[Condition.MULTITURN]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        ],
        tokenize=False,
        add_generation_prompt=True,
    )
    ids = theirs(prompt.replace("<|image_pad|>", "<|image_pad|>" * 16), add_special_tokens=False)["input_ids"]
    ours = chat.open_conversation(
        model.tokenizer(), (ImageSlot(16), question), system=lexicon.SYSTEMS[Condition.MULTITURN]
    )
    assert ids == ours
    assert len(ours) == 33


def test_greedy_answers_are_those_of_transformers(directory):
    policy = policies.load(str(directory))
    limits = Limits(max_turns=1, max_zooms=0, max_turn_tokens=12)
    plan = rollout.Plan(
        dataclasses.replace(dialogues.rules(Condition.BASE), limits=limits), ZoomSettings(ZOOM, Edges.SNAP)
    )
    sampler = policies.scheduler(policy, [plan], prompt_tokens=40, slots=4)
    settings = rollout.Settings({TASK.name: plan}, policy.images, TurnSettings(12, temperature=0.0))
    groups = rollout.collect(sampler, GlyphExamples(LEVEL_1, 0, 4), policy.tokenizer, settings, seed=0)
    theirs = [_generate(directory, policy, episode.segments[0]) for (episode,) in groups]
    ours = [list(episode.turns[0].token_ids) for (episode,) in groups]
    assert ours == [tokens[: len(answer)] for tokens, answer in zip(theirs, ours, strict=True)]
    assert len(set(map(tuple, ours))) > 1


def _generate(directory, policy, opening) -> list[int]:
    import torch

    from vigorl_jax.testing.reference import Reference

    ids = torch.tensor([opening.token_ids])
    (view,) = opening.images
    model = Reference(directory).model
    generated = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == policy.config.image_token_id).int(),
        pixel_values=torch.tensor(np.array(normalise(view.patches, policy.images))),
        image_grid_thw=torch.tensor(view.patches.grids),
        max_new_tokens=12,
        do_sample=False,
        suppress_tokens=np.flatnonzero(
            decoding.banned_tokens(policy.config, text_tokens=policy.tokenizer.vocab_size)
        ).tolist(),
        eos_token_id=[policy.config.eos_token_id[0]],
        pad_token_id=policy.config.pad_token_id,
    )
    return generated[0, ids.shape[1] :].tolist()
