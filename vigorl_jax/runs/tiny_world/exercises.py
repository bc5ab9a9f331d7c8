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
from vigorl_jax.runs.tiny_world.views import Picture
from vigorl_jax.tasks import tags
from vigorl_jax.tasks.example import Example
from vigorl_jax.tasks.glyph_levels import LETTERS, REDUCTION, Level
from vigorl_jax.tasks.glyph_scenes import Sign, draw_scene
from vigorl_jax.tasks.glyph_search import TASK

# A close view is centred this many pixels of the overview beside its sign at most, as a model points that is learning.
_BESIDE = 8
_NO_FILE = b"-"  # The views are made already; nobody opens the image of an exercise.


@dataclasses.dataclass(frozen=True)
class Exercises:
    """Scenes made once, of which ever new exercises are made: drawing a scene takes longer than asking about it.

    Attributes:
      overviews: Scenes with their overviews.
      closer: Scenes with a view beside their first sign.
      tokenizer: Of the model.
    """

    overviews: tuple[Picture, ...]
    closer: tuple[Picture, ...]
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
            (scene, views.zoom(scene, _beside(scene.signs[0], level, rng), settings)) for scene in scenes
        )
        return cls(overviews, closer, tokenizer)

    def pictures(
        self, rng: np.random.Generator, overviews: int, closer: int
    ) -> tuple[list[Picture], list[Picture]]:
        """So many of each, drawn by chance."""
        return _some(self.overviews, overviews, rng), _some(self.closer, closer, rng)

    def batch(
        self, rng: np.random.Generator, *, captions: int, questions: int, readings: int
    ) -> list[Episode]:
        """So many of each kind, about signs drawn by chance."""
        shown, closer = self.pictures(rng, captions + questions, readings)
        asked = [(scene.signs[rng.integers(len(scene.signs))], view) for scene, view in shown]
        return [
            *(self.caption(*one) for one in asked[:captions]),
            *(self.ask(*one) for one in asked[captions:]),
            *(self.read(scene.signs[0], view) for scene, view in closer),
        ]

    def all_views(self) -> list[Episode]:
        """One exercise on each picture."""
        return [
            *(self.caption(scene.signs[0], view) for scene, view in self.overviews),
            *(self.read(scene.signs[0], view) for scene, view in self.closer),
        ]

    def caption(self, sign: Sign, view: View) -> Episode:
        """An overview and, without any turns, "The red circle is at (31, 77).", exact to the pixel of the overview.

        One sign a scene: who lists all of them learns to name places that are left, not to find a name.
        """
        return self._captioned(view, f" {_where(sign)}")

    def ask(self, sign: Sign, view: View) -> Episode:
        """ "Where is the red circle?" - "The red circle is at (31, 77)." """
        parts = (ImageSlot(view.num_tokens), f"{lexicon.POINT_AT} {sign.name}?")
        opening = chat.open_conversation(self.tokenizer, parts, system=lexicon.EXERCISE_SYSTEM)
        thought = f"{tags.opening(tags.THINK)} {_where(sign)} {tags.closing(tags.THINK)}\n"
        return self._episode(opening, view, thought)

    def read(self, sign: Sign, view: View) -> Episode:
        """A closer view and its caption: "The red circle shows T." """
        return self._captioned(view, f" The {sign.name} shows {sign.letter}.")

    def compare(self, rng: np.random.Generator) -> Episode:
        """Some overview, "The red circle shows T. The blue square shows T", and ": the same letter." to be learned.

        The letters cannot be seen; they are as often the same as not.
        """
        first, second = rng.choice(lexicon.NAMES, 2, replace=False).tolist()
        letter, other = rng.choice(list(LETTERS), 2, replace=False).tolist()
        shown, word = ((letter, "the same"), (other, "another"))[int(rng.integers(2))]
        _, view = self.overviews[0]
        said = self.tokenizer.encode_with_tool_tags(
            f" The {first} shows {letter}. The {second} shows {shown}"
        )
        return self._episode([*self._image(view), *said], view, f": {word} letter.")

    def _captioned(self, view: View, caption: str) -> Episode:
        """An image and its caption without any turns, as models are pre-trained."""
        return self._episode(self._image(view), view, caption)

    def _image(self, view: View) -> list[int]:
        control = self.tokenizer.control
        return [control.vision_start, *[control.image_pad] * view.num_tokens, control.vision_end]

    def _episode(self, opening: Sequence[int], view: View, text: str) -> Episode:
        example = Example("exercise", TASK.name, text, text, (_NO_FILE,))
        target = tuple(chat.assistant_target(self.tokenizer, text))
        written = Segment(Kind.SAMPLED, target, text, action=turns.parse(text))
        return Episode(example, (given(opening, [view], self.tokenizer), written), Status.MALFORMED)


def _some(pictures: Sequence[Picture], count: int, rng: np.random.Generator) -> list[Picture]:
    return [pictures[number] for number in rng.permutation(len(pictures))[:count]]


def _where(sign: Sign) -> str:
    return f"The {sign.name} is at {place(sign)}."


def place(sign: Sign) -> views.Point:
    """The pixel of the overview that holds the middle of a sign."""
    return sign.centre[0] // REDUCTION, sign.centre[1] // REDUCTION


def _beside(sign: Sign, level: Level, rng: np.random.Generator) -> views.Point:
    x, y = (np.array(place(sign)) + rng.integers(-_BESIDE, _BESIDE + 1, 2)).tolist()
    return min(max(x, 0), level.overview[0] - 1), min(max(y, 0), level.overview[1] - 1)
