"""The model that comes with the package is what it is said to be, in our network and in that of transformers."""

import numpy as np
import pytest

from vigorl_jax.processing.patches import normalise, pack_patches
from vigorl_jax.qwen25vl import weights
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.tiny_world import model, shipped
from vigorl_jax.runs.tiny_world.examination import Examiner
from vigorl_jax.sampling import decoding
from vigorl_jax.testing.reference import Reference

SETTINGS = model.image_settings()


@pytest.fixture(scope="module")
def loaded():
    return weights.load(shipped.directory())


@pytest.fixture(scope="module")
def examined(loaded):
    return Examiner(shipped.RECIPE, Condition.MULTITURN, 64)(loaded[1])


def test_the_shipped_files_are_those_of_the_recipe(loaded, tmp_path):
    config, params = loaded
    assert config == shipped.RECIPE.config
    model.write_files(tmp_path, config, params, SETTINGS)
    for file in sorted(tmp_path.iterdir()):
        assert file.read_bytes() == (shipped.directory() / file.name).read_bytes(), file.name


def test_the_warm_start_zooms_and_answers_half_of_the_questions(examined):
    result, _ = examined
    assert 0.5 <= result.greedy.value <= 0.8
    assert result.behaviours["zooms"] > 0.9


def test_transformers_gives_the_same_greedy_answers(loaded, examined):
    (config, _), (_, episodes) = loaded, examined
    banned = decoding.banned_tokens(config, text_tokens=model.tokenizer().vocab_size)
    reference = Reference(shipped.directory())
    for episode in episodes[:12]:
        tokens = np.array(episode.token_ids)
        packed = pack_patches([view.patches for view in episode.views])
        patches = np.asarray(normalise(packed, SETTINGS))[: packed.count]
        logits = reference(tokens[None], np.array([len(tokens)]), patches, packed.grids).logits[0]
        likeliest = np.where(banned, -np.inf, logits).argmax(-1)
        sampled = np.flatnonzero(episode.mask)
        np.testing.assert_array_equal(likeliest[sampled - 1], tokens[sampled])
