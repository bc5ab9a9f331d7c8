"""Views made on the host equal those that a roll out makes of the whole image, pixel by pixel."""

import numpy as np
import pytest

from vigorl_jax.processing.decode import decode_image
from vigorl_jax.reasoning import zoom
from vigorl_jax.reasoning.calls import Zoom
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings
from vigorl_jax.runs.tiny_world import model, views
from vigorl_jax.tasks import glyph_search
from vigorl_jax.tasks.glyph_levels import LEVEL_1
from vigorl_jax.tasks.glyph_questions import pose

SETTINGS = model.image_settings()


@pytest.fixture(scope="module")
def scene():
    return pose(LEVEL_1, 3, 4).scene


@pytest.fixture(scope="module")
def source():
    (png,) = glyph_search.example(LEVEL_1, 3, 4).images
    return zoom.open_source(decode_image(png), SETTINGS, ZoomSettings(glyph_search.ZOOM, Edges.SNAP))


def assert_same(ours, theirs):
    assert ours == theirs
    np.testing.assert_array_equal(ours.patches.pixels, theirs.patches.pixels[: theirs.patches.count])


def test_the_overview(scene, source):
    assert_same(views.overview(scene, SETTINGS), source.view)


@pytest.mark.parametrize("point", [(0, 0), (31, 77), (55, 56), (111, 13), (111, 111)])
def test_a_zoom(scene, source, point):
    (cut,) = zoom.cut(source, [(Zoom(point), ())])
    assert_same(views.zoom(scene, point, SETTINGS), cut)
