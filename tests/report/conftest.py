"""Episodes of every kind for the viewer: right, wrong, partly, cut off, and full of markup."""

import dataclasses
import io

import numpy as np
import pytest
from immutabledict import immutabledict
from PIL import Image

from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import turns, zoom
from vigorl_jax.reasoning.dialogue import Rules, open_dialogue
from vigorl_jax.reasoning.turns import Zoom
from vigorl_jax.reasoning.zoom import ZoomSettings, open_source
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.task import ZoomPreset
from vigorl_jax.testing.byte_tokenizer import byte_tokenizer

SETTINGS = ImageSettings(max_pixels=196 * 140)
BYTES = Tokenizer(byte_tokenizer())


@pytest.fixture(scope="session")
def photograph() -> bytes:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((420, 310)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_episode(photograph):
    """Rolls out given texts on 420 x 310 pixels seen at 168 x 140, with windows of 80 pixels."""

    def make(texts, *, reward=None, number=0, cut_off=False, **example):
        values = {"id": "kite/7", "task": "visual_search", "question": "Colour?", "answer": "red"} | example
        asked = Example(images=(photograph,), **values)
        with Image.open(io.BytesIO(photograph)) as image:
            source = open_source(np.asarray(image), SETTINGS, ZoomSettings(ZoomPreset(40, 56, False)))
        dialogue = open_dialogue(asked, [source.view], BYTES, Rules("Look."))
        for text in texts:
            action = dialogue.add_turn(BYTES.encode_with_tool_tags(text), cut_off=cut_off)
            if isinstance(action, Zoom):
                (action,) = zoom.cut(source, [(action, dialogue.crops)])
            if dialogue.status is None:
                dialogue.observe(action)
        parts = (
            immutabledict() if reward is None else immutabledict(overall=reward, accuracy=float(reward > 0.5))
        )
        return dataclasses.replace(dialogue.finish(number), reward=parts)

    return make


@pytest.fixture(scope="session")
def episodes(make_episode):
    look = turns.write_zoom("A kite at (84, 70), a tree at (10, 20).", Zoom((84, 70)))
    answer = turns.write_answer("Seen at (85, 71).", "red")
    markup = '<think> <b>bold</b> <script>alert(1)</script> </think><answer> <i>x</i> & " </answer>'
    return [
        make_episode([look, answer], reward=1.0),
        make_episode([look, look, turns.write_answer("Hm.", "blue")], reward=0.25, number=1),
        make_episode([markup], reward=0.5, number=2, question="<img src=x onerror=alert(1)> {{ 7 * 7 }}"),
        make_episode(["It goes on"], number=3, cut_off=True),
    ]
