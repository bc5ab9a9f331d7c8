"""A step of policy gradients, roll out and update, beside TRL's GRPOTrainer on the same weights and prompts."""

import contextlib
import io
import pathlib
import tempfile
import time
from collections.abc import Sequence

import jax
import numpy as np
from PIL import Image as PillowImage

from experiments.benchmarks import timing, training_peers
from vigorl_jax import rollout
from vigorl_jax.buckets import bucket
from vigorl_jax.processing.settings import ImageSettings
from vigorl_jax.processing.tokenizer import Tokenizer
from vigorl_jax.qwen25vl import weights
from vigorl_jax.reasoning import prompts
from vigorl_jax.reasoning.dialogue import Limits, opening_ids
from vigorl_jax.reasoning.episode import Episode
from vigorl_jax.rollout import Settings
from vigorl_jax.sampling import decoding, stops
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import TurnSettings
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.seen_images import SeenImages
from vigorl_jax.sampling.shapes import Shapes
from vigorl_jax.tasks.example import Example
from vigorl_jax.testing.models import write_tiny_model
from vigorl_jax.training import advantages
from vigorl_jax.training.batch import collate
from vigorl_jax.training.encoder import Encoder
from vigorl_jax.training.image_table import UnitTable
from vigorl_jax.training.learner import Learner
from vigorl_jax.training.learner_settings import LearnerSettings
from vigorl_jax.training.losses import dapo
from vigorl_jax.training.optimiser import OptimiserSettings

EXAMPLES, GROUP, NEW_TOKENS, SIDE = 16, 8, 64, 112
MICRO_ROWS = 16  # a micro-batch of these stays in a processor's cache: a quarter faster than 128 at once
TASK, SYSTEM = "spatial", "Answer."


def run(
    *, repetitions: int, examples: int = EXAMPLES, group: int = GROUP, new_tokens: int = NEW_TOKENS
) -> dict:
    """Seconds of a step on both sides and of its parts on ours, and the ratio; TRL's only where it is installed.

    Both draw at temperature 1, never stop before the last token, score by the same function, compare within groups,
    and make one update of the language model, without KL term and old log-probs.
    """
    with tempfile.TemporaryDirectory() as model_dir:
        write_tiny_model(model_dir)
        asked = _examples(examples)
        ours = _OurSteps(model_dir, asked, group, new_tokens)
        sides = {"ours": ours}
        if training_peers.has_trl():
            trl = training_peers.TrlSteps(
                model_dir,
                [(SYSTEM, prompts.user_text(example), _pixels(example)) for example in asked],
                group_size=group,
                new_tokens=new_tokens,
                reward=reward,
                steps=repetitions + 1,
            )
            if trl.prompt_tokens != ours.prompt_tokens:
                raise ValueError("the peer reads another prompt; the two sides must be given the same tokens")
            sides["trl"] = _quiet(trl)
        times = timing.paired(sides, repetitions=repetitions)
    figures = {
        **times,
        "ours_parts_ms": {name: 1e3 * float(np.median(values)) for name, values in ours.parts.items()},
        "prompt_tokens": len(ours.prompt_tokens),
        "new_tokens": examples * group * new_tokens,
    }
    if "trl" not in sides:
        return {**figures, "trl": training_peers.HOW_TO_INSTALL}
    return {**figures, "times_as_fast": times["trl"]["ratio_to_first"]}


def reward(text: str) -> float:
    """Share of vowels: something that differs within every group."""
    return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


class _OurSteps:
    """Roll out through the scheduler, rewards and advantages, one update; `parts` keeps the seconds of each."""

    def __init__(self, model_dir: str, examples: Sequence[Example], group: int, new_tokens: int):
        config, params = weights.load(model_dir)
        self._tokenizer = Tokenizer.load(model_dir)
        images = ImageSettings.from_model_dir(model_dir)
        plan = rollout.plan(TASK, "vanilla", system=SYSTEM, limits=Limits(1, 0, new_tokens))
        self.prompt_tokens = opening_ids(examples[0], [(SIDE // 28) ** 2], self._tokenizer, plan.rules)
        self._examples, rows = examples, len(examples) * group
        self._settings = Settings(
            {TASK: plan}, images, TurnSettings(1, temperature=1.0), group_size=group, open_episodes=rows
        )
        prompt = bucket(
            max(len(opening_ids(e, [(SIDE // 28) ** 2], self._tokenizer, plan.rules)) for e in examples)
        )
        shapes = Shapes(rows, prompt + new_tokens, (prompt,), (), len(examples) * (SIDE // 28) ** 2, chunk=32)
        self._sampler = Sampler(config, shapes, text_tokens=self._tokenizer.vocab_size)
        self._images = ImageStore(config, shapes, images, np.dtype(np.float32))
        self._stops = stops.build([b""] * config.text.vocab_size, [], ())
        self._learner = Learner(
            config,
            LearnerSettings(optimiser=OptimiserSettings(learning_rate=1e-5), objective=dapo()),
            banned=decoding.banned_tokens(config, text_tokens=self._tokenizer.vocab_size),
        )
        self._state = self._learner.init(params)
        self._encoder = Encoder(self._learner, images)
        self._number, self.parts = 0, {"roll_out": [], "prepare": [], "update": []}

    def __call__(self) -> None:
        """One step."""
        began = time.perf_counter()
        seen = SeenImages()
        groups = self._roll_out(seen)
        rolled = time.perf_counter()
        rated = advantages.rate(groups, advantages.group_normalised, reward=_episode_reward)
        episodes = [one.episode for one in rated]
        table = UnitTable(episodes, self._learner.config)
        batches = collate(
            episodes,
            table,
            self._learner.config,
            advantages=[one.advantage for one in rated],
            count=-(-len(episodes) // MICRO_ROWS),
        )
        images = self._encoder(self._state, table, table.units, seen)
        prepared = time.perf_counter()
        self._state, _ = self._learner.update(self._state, batches, images)
        jax.block_until_ready(self._state)
        ended = time.perf_counter()
        for name, seconds in zip(
            self.parts, (rolled - began, prepared - rolled, ended - prepared), strict=True
        ):
            self.parts[name].append(seconds)

    def _roll_out(self, seen: SeenImages) -> list[list[Episode]]:
        self._number += 1
        self._images.at_version(self._number, seen)
        scheduler = Scheduler(self._sampler, self._learner.params(self._state), self._images, self._stops)
        return rollout.collect(
            scheduler, self._examples, self._tokenizer, self._settings, seed=0, step=self._number
        )


def _episode_reward(episode: Episode) -> float:
    return reward(episode.turns[-1].text)


def _examples(count: int) -> list[Example]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        file = io.BytesIO()
        PillowImage.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "PNG")
        made.append(Example(str(i), TASK, "What is it", "square", (file.getvalue(),)))
    return made


def _pixels(example: Example) -> np.ndarray:
    return np.asarray(PillowImage.open(io.BytesIO(example.images[0])))


def _quiet(side):
    """The side without what it prints on standard output, which is for the figures."""

    def call() -> None:
        with (
            pathlib.Path("/dev/null").open("w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            side()

    return call
