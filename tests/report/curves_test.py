"""Learning curves."""

import sys

import pytest
from PIL import Image

from vigorl_jax.report import curves


def test_a_running_mean_covers_the_last_five_steps():
    assert curves.running_mean([1, 3, 5]) == [1, 2, 3]
    assert curves.running_mean([0, 0, 5, 5, 5, 5, 5]) == [0, 0, 5 / 3, 2.5, 3, 4, 5]


def test_the_picture_shows_each_run_in_its_own_colour(tmp_path):
    path = curves.plot(
        {"up": [0.0, 1.0], "down": [1.0, 0.0]}, tmp_path / "c.png", title="t", label="l", chance=0.5
    )
    image = Image.open(path).convert("RGB")
    colours = {colour for _, colour in image.getcolors(1 << 24)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # Matplotlib's first two.


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match="pip install matplotlib"):
        curves.plot({"a": [0.0]}, tmp_path / "c.png", title="t", label="l")
