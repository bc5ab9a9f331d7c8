"""Views of GlyphSearch scenes made on the host, many times as fast as from whole images, with the same pixels."""

import numpy as np

from vigorl_jax.processing.frames import Frame
from vigorl_jax.processing.patches import from_image
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.reasoning.zoom import View, snapped_window
from vigorl_jax.tasks import glyph_drawing
from vigorl_jax.tasks.glyph_levels import REDUCTION
from vigorl_jax.tasks.glyph_scenes import Scene
from vigorl_jax.tasks.glyph_search import ZOOM

Point = tuple[int, int]
Picture = tuple[Scene, View]


def overview(scene: Scene, settings: ImageSettings) -> View:
    """What an episode on the scene begins with."""
    width, height = scene.level.canvas
    pixels = glyph_drawing.overview(scene)
    return _view(pixels, Frame.original(width, height).resized(pixels.shape[1], pixels.shape[0]), settings)


def zoom(scene: Scene, point: Point, settings: ImageSettings) -> View:
    """What a zoom at a point of the overview brings where windows are snapped (`Edges.SNAP`)."""
    # The centre of the overview's pixel, as `frames.map_point` has it.
    centre = tuple(value * REDUCTION + REDUCTION // 2 for value in point)
    window = snapped_window(centre, scene.level.canvas, ZOOM.offset)
    frame = Frame(window, ZOOM.side, ZOOM.side)
    return _view(glyph_drawing.draw_window(scene, window), frame, settings)


def _view(pixels: np.ndarray, frame: Frame, settings: ImageSettings) -> View:
    return View(frame, settings.num_tokens(settings.grid(frame)), from_image(pixels, settings))
