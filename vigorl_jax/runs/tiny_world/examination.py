"""What a tiny model can do: accuracy with its interval, where it points, how often it zooms, how it reasons."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import jax
from immutabledict import immutabledict

from vigorl_jax import rollout
from vigorl_jax.evaluation.statistics import Estimate, accuracy
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.reasoning.zoom import Edges, ZoomSettings
from vigorl_jax.rollout import Plan
from vigorl_jax.runs.policy import Desk, Policy
from vigorl_jax.runs.tiny_world import dialogues, model
from vigorl_jax.runs.tiny_world.recipe import Recipe
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.tasks.glyph_levels import LEVEL_1, Level
from vigorl_jax.tasks.glyph_search import TASK, ZOOM, GlyphExamples

# How the tiny model is sampled, in reinforcement too: examinations then run the programs compiled for it.
SLOTS, GROUP_SIZE, LEAST_ROWS, PROMPT_TOKENS = 128, 8, 16, 40
# No run learns from examples of this seed.
_SEED = 20_000


@dataclasses.dataclass(frozen=True)
class Result:
    """How a model did on the examples of an examination.

    Attributes:
      greedy: accuracy of the likeliest answers.
      sampled: accuracy of answers sampled at temperature 1.
      pointing_error: median distance of an episode's last look from the middle of the sign asked about last, in pixels
        of the original; None where nothing is pointed at.
      zooms: per sampled episode.
      behaviours: share of sampled episodes in which something occurs, by name.
    """

    greedy: Estimate
    sampled: Estimate
    pointing_error: float | None
    zooms: float
    behaviours: Mapping[str, float]


class Examiner:
    """Examines models of one recipe in one condition; compiles once.

    Args:
      recipe: of the models.
      condition: how they are asked.
      count: of the examples.
    """

    def __init__(self, recipe: Recipe, condition: Condition, count: int = 256):
        self._plan, self._images = make_plan(condition, recipe.level), recipe.images
        self._tokenizer = model.tokenizer()
        policy = Policy(recipe.config, model.first_params(recipe.config, 0), self._tokenizer, recipe.images)
        self._desk = Desk(
            policy,
            [self._plan],
            prompt_tokens=PROMPT_TOKENS,
            slots=min(SLOTS, count),
            group_size=GROUP_SIZE,
            least_rows=LEAST_ROWS,
        )
        self._examples = list(GlyphExamples(recipe.level, _SEED, count))

    def __call__(self, params: Params) -> tuple[Result, list[Episode]]:
        """The result, and the greedy episodes, whose reward is their accuracy."""
        # Bound to the device, wherever they come from: one set of programs serves them all.
        params = jax.device_put(params, jax.local_devices()[0])
        greedy, sampled = (self._episodes(params, temperature) for temperature in (0.0, 1.0))
        result = Result(
            greedy=_accuracy(greedy),
            sampled=_accuracy(sampled),
            pointing_error=pointing_error(sampled),
            zooms=statistics.fmean(len(episode.crops) for episode in sampled),
            behaviours=behaviours(sampled),
        )
        return result, greedy

    def _episodes(self, params: Params, temperature: float) -> list[Episode]:
        settings = rollout.Settings(
            {TASK.name: self._plan}, self._images, TurnSettings(1, temperature=temperature)
        )
        groups = rollout.collect(self._desk.open(params), self._examples, self._tokenizer, settings, seed=0)
        return [_marked(episode) for (episode,) in groups]


def make_plan(condition: Condition, level: Level = LEVEL_1) -> Plan:
    """How episodes of the tiny world are rolled out."""
    return Plan(dialogues.rules(condition, level), ZoomSettings(ZOOM, Edges.SNAP))


def pointing_error(episodes: Sequence[Episode]) -> float | None:
    """See `Result`."""
    errors = []
    for episode in episodes:
        looks = episode.zooms or episode.points
        if looks:
            x0, y0, x1, y1 = episode.example.boxes[-1]
            errors.append(math.dist(looks[-1].point, ((x0 + x1) / 2, (y0 + y1) / 2)))
    return statistics.median(errors) if errors else None


def behaviours(episodes: Sequence[Episode]) -> dict[str, float]:
    """Shares of episodes that look, look again, take something back, fail to answer, and are malformed somewhere."""
    occurs = {
        "zooms": lambda episode: len(episode.crops) > 0,
        "looks again": lambda episode: len(episode.crops) > len(episode.example.boxes),
        "takes back": lambda episode: any("Wait" in turn.text for turn in episode.turns),
        "malformed": lambda episode: bool(episode.malformed),
        "no answer": lambda episode: episode.answer is None,
    }
    return {name: statistics.fmean(map(test, episodes)) for name, test in occurs.items()}


def _marked(episode: Episode) -> Episode:
    right = TASK.accuracy(episode.answer, episode.example) if episode.answer is not None else 0.0
    return dataclasses.replace(episode, reward=immutabledict(accuracy=right))


def _accuracy(episodes: Sequence[Episode]) -> Estimate:
    return accuracy([[episode.reward["accuracy"]] for episode in episodes])
