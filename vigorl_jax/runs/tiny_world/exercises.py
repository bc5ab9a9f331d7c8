"""Episodes that teach perception before any question is asked: where signs are, and which letter a close view shows."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vigorl_jax.processing import chat
from vigorl_jax.processing.chat import ImageSlot
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.reasoning import turns
from vigorl_jax.reasoning.dialogue import given
from vigorl_jax.reasoning.episode import Episode, Kind, Segment, Status
from vigorl_jax.reasoning.zoom import View
from vigorl_jax.runs.tiny_world import lexicon, views
from vigorl_jax.tasks import tags
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_levels import REDUCTION, Level
from vigorl_jax.tasks.glyph_scenes import Scene, Sign, draw_scene
from vigorl_jax.tasks.glyph_search import TASK

# A close view is centred this many pixels of the overview beside its sign at most, as a model points that is learning.
_BESIDE = 8
_NO_FILE = b"-"  # The views are made already; nobody opens the image of an exercise.


@dataclasses.dataclass(frozen=True)
class Exercises:
    """Scenes made once, of which ever new exercises are made: drawing a scene takes longer than asking about it.

    Attributes:
      overviews: Scenes with their overviews.
      closer: Signs with a view beside them.
      tokenizer: Of the model.
    """

    overviews: tuple[tuple[Scene, View], ...]
    closer: tuple[tuple[Sign, View], ...]
    tokenizer: Tokenizer

    @classmethod
    def draw(
        cls, level: Level, seed: int, count: int, tokenizer: Tokenizer, settings: ImageSettings
    ) -> "Exercises":
        """`count` scenes and as many closer views, of a level and a seed."""
        rng = np.random.default_rng((seed, count))
        scenes = [draw_scene(level, rng) for _ in range(count)]
        overviews = tuple((scene, views.overview(scene, settings)) for scene in scenes)
        closer = tuple(
            (scene.signs[0], views.zoom(scene, _beside(scene.signs[0], level, rng), settings))
            for scene in scenes
        )
        return cls(overviews, closer, tokenizer)

    def batch(self, rng: np.random.Generator, pointing: int, reading: int) -> list[Episode]:
        """Exercises drawn by chance: descriptions two by two of one scene, questions about half of these scenes."""
        scenes = [self.overviews[number] for number in rng.permutation(len(self.overviews))[: pointing // 2]]
        signs = [self.closer[number] for number in rng.permutation(len(self.closer))[:reading]]
        return [
            *(self.describe(*scene, rng) for scene in scenes),
            *(self.describe(*scene, rng) for scene in scenes[: pointing // 4]),
            *(self.point(*scene, rng) for scene in scenes[pointing // 4 :]),
            *(self.read(*sign) for sign in signs),
        ]

    def describe(self, scene: Scene, view: View, rng: np.random.Generator) -> Episode:
        """A caption: "The red circle is at (31, 77). The blue square is at (60, 20)." and so on, in any order.

        Exact to the pixel of the overview.
        """
        return self._captioned(view, "".join(f" {_where(sign)}" for sign in _shuffled(scene, rng)))

    def point(self, scene: Scene, view: View, rng: np.random.Generator) -> Episode:
        """ "Where are the signs? The red circle and the blue square?", and the same sentences in this order."""
        signs = _shuffled(scene, rng)
        question = f"{lexicon.POINT_AT_ALL} The {' and the '.join(sign.name for sign in signs)}?"
        parts = (ImageSlot(view.num_tokens), question)
        opening = chat.open_conversation(self.tokenizer, parts, system=lexicon.EXERCISE_SYSTEM)
        thought = f"{tags.opening(tags.THINK)} {' '.join(map(_where, signs))} {tags.closing(tags.THINK)}\n"
        return self._episode(opening, view, thought)

    def read(self, sign: Sign, view: View) -> Episode:
        """A caption of a closer view: "The red circle shows T." """
        return self._captioned(view, f" The {sign.name} shows {sign.letter}.")

    def _captioned(self, view: View, caption: str) -> Episode:
        """An image and its caption without any turns, as models are pre-trained."""
        control = self.tokenizer.control
        image = [control.vision_start, *[control.image_pad] * view.num_tokens, control.vision_end]
        return self._episode(image, view, caption)

    def _episode(self, opening: Sequence[int], view: View, text: str) -> Episode:
        example = Example("exercise", TASK.name, text, text, (_NO_FILE,))
        target = tuple(chat.assistant_target(self.tokenizer, text))
        written = Segment(Kind.SAMPLED, target, text, action=turns.parse(text))
        return Episode(example, (given(opening, [view], self.tokenizer), written), Status.MALFORMED)


def _shuffled(scene: Scene, rng: np.random.Generator) -> list[Sign]:
    return [scene.signs[number] for number in rng.permutation(len(scene.signs)).tolist()]


def _where(sign: Sign) -> str:
    return f"The {sign.name} is at {place(sign)}."


def place(sign: Sign) -> views.Point:
    """The pixel of the overview that holds the middle of a sign."""
    return sign.centre[0] // REDUCTION, sign.centre[1] // REDUCTION


def _beside(sign: Sign, level: Level, rng: np.random.Generator) -> views.Point:
    x, y = (np.array(place(sign)) + rng.integers(-_BESIDE, _BESIDE + 1, 2)).tolist()
    return min(max(x, 0), level.overview[0] - 1), min(max(y, 0), level.overview[1] - 1)
