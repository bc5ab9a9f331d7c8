"""The sampler beside `transformers.generate`: plain decoding, a two-turn zoom roll out, groups, ragged lengths."""

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import accelerator_sampling, floors, timing
from experiments.benchmarks.backbone import CONFIG as MID
from vigorl_jax.qwen25vl import weights
from vigorl_jax.qwen25vl.config import Config, TextConfig, VisionConfig
from vigorl_jax.qwen25vl.model import Params
from vigorl_jax.sampling import decoding
from vigorl_jax.sampling.image_store import ImageStore
from vigorl_jax.sampling.requests import Given, Image, Stream, TurnSettings
from vigorl_jax.sampling.sampler import Sampler
from vigorl_jax.sampling.scheduler import Scheduler
from vigorl_jax.sampling.shapes import Shapes, shares_prompts
from vigorl_jax.testing.models import random_params
from vigorl_jax.testing.sampling import (
    IMAGE_SETTINGS,
    Plan,
    pixels,
    random_image,
    roll_out,
    stop_at,
    teacher_forced,
)

ROWS, NEW_TOKENS = 32, 128
SMALL, OVERVIEW, CROP, LARGE = (1, 8, 8), (1, 24, 24), (1, 12, 12), (1, 62, 62)  # in patches
GROUPS, GROUP, FIRST_TURN, ANSWER = 16, 8, 34, 16
PROMPT_LENGTHS = (128, 512, 1000)
RAGGED_EPISODES, RAGGED_SLOTS, MEAN_LENGTH, LONGEST = 256, 16, 64, 512

# 0.607 M parameters.
TINY = Config(
    vision=VisionConfig(2, 64, 176, 4, 14, 2, 3, 2, 112, (1,), 96),
    text=TextConfig(300, 96, 264, 3, 4, 2, 24, 1e-6, 1e6, (3, 4, 5), True, 4096),
    image_token_id=290,
    video_token_id=291,
    vision_start_token_id=292,
    vision_end_token_id=293,
    bos_token_id=294,
    eos_token_id=(295,),
    pad_token_id=296,
)
# Repetitions, and slots of the roll out: few slots keep the small model's cache near the processor, many let the
# large one read its weights less often.
MODELS = {"0.6M": (TINY, 7, 32), "65M": (MID, 3, 64)}


def run() -> dict:
    """All measurements of the suite, in one run; on an accelerator also those at the released 3B shape."""
    peak, bandwidth = timing.matmul_peak(), timing.memory_bandwidth()
    figures = {
        "machine": timing.machine(),
        "matmul_gflops": peak / 1e9,
        "memory_gb_per_s": bandwidth / 1e9,
        "ragged_lengths": _ragged_lengths(),
        "logprob_gap": {dtype: _logprob_gap(jnp.dtype(dtype)) for dtype in ("float32", "bfloat16")},
    }
    for name, model in MODELS.items():
        bench = _Bench(*model, peaks=(peak, bandwidth))
        figures[name] = {
            "decode": bench.decode(),
            "zoom_roll_out": bench.zoom_roll_out(),
            "group_of_8": bench.group(),
            "shared_prompts": bench.shared_prompts(),
        }
    if jax.default_backend() != "cpu":
        figures["3B"] = accelerator_sampling.run()
    return {**figures, "peak_memory_gib": timing.peak_memory_gib()}


def _given(rng: np.random.Generator, config: Config, images: Sequence[Image], text: int) -> Given:
    """Images, each between its markers, and random text behind them."""
    tokens = []
    for image in images:
        merged = image.patches.count // config.vision.spatial_merge_size**2
        tokens += [
            config.vision_start_token_id,
            *[config.image_token_id] * merged,
            config.vision_end_token_id,
        ]
    return Given(np.int32([*tokens, *rng.integers(0, 280, text)]), tuple(images))


class _World:
    """A sampler of one model with its images, without stops: lengths are those of the plans."""

    def __init__(self, config: Config, params: Params, shapes: Shapes, dtype: jnp.dtype = jnp.float32):
        self.config, self.params, self.sampler = config, params, Sampler(config, shapes)
        self.images = ImageStore(config, shapes, IMAGE_SETTINGS, dtype)
        self.stops = stop_at(config)
        self._version = 0

    def scheduler(self) -> Scheduler:
        """Empty slots, and no image encoded yet."""
        self._version += 1
        self.images.at_version(self._version)
        return Scheduler(self.sampler, self.params, self.images, self.stops)


class _Bench:
    """One model on both sides, in float32."""

    def __init__(self, config: Config, repetitions: int, slots: int, *, peaks: tuple[float, float]):
        self.config, self.repetitions, self.slots = config, repetitions, slots
        self.peaks = peaks  # operations and bytes a second
        self.params = random_params(config, 0)
        self.rng = np.random.default_rng(0)
        self.peer = _Peer(config, self.params)

    def decode(self) -> dict:
        """32 rows with an image each and 128 new tokens: tokens/s, greedy and sampled, and the floor of a step."""
        prompts = [_given(self.rng, self.config, [random_image(self.rng, SMALL)], 14) for _ in range(ROWS)]
        length = len(prompts[0].tokens)
        shapes = Shapes(ROWS, length + NEW_TOKENS, (length,), (), ROWS * 16, chunk=32)
        world = _World(self.config, self.params, shapes)
        rows = {}
        for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            turns = (TurnSettings(NEW_TOKENS, temperature=temperature),)
            plans = [Plan(Stream(0, 0, i, 0), (prompt,), turns) for i, prompt in enumerate(prompts)]
            times = timing.paired(
                {
                    "ours": lambda plans=plans: roll_out(world.scheduler(), plans),
                    "transformers": lambda t=temperature: self.peer.generate(prompts, NEW_TOKENS, t),
                },
                repetitions=self.repetitions,
            )
            rows[name] = _beside_peer(times, ROWS * NEW_TOKENS)
        floor = floors.decode_step(self.config, ROWS, length + NEW_TOKENS // 2)
        step_ms = rows["greedy"]["ours"]["median_ms"] / NEW_TOKENS
        return {
            **rows,
            "step": floor.beside(step_ms, *self.peaks),
            "compilations": world.sampler.compilations(),
        }

    def zoom_roll_out(self) -> dict:
        """16 groups of 8: an overview, a turn, a crop, an answer; the peer reads all of a dialogue at each turn."""
        given = [
            (
                _given(self.rng, self.config, [random_image(self.rng, OVERVIEW)], 16),
                [_given(self.rng, self.config, [random_image(self.rng, CROP)], 8) for _ in range(GROUP)],
            )
            for _ in range(GROUPS)
        ]
        prompt, crop = len(given[0][0].tokens), len(given[0][1][0].tokens)
        shapes = self._zoom_shapes(prompt, crop + 1)
        world = _World(self.config, self.params, shapes)
        turns = (TurnSettings(FIRST_TURN), TurnSettings(ANSWER))
        plans = [
            Plan(Stream(0, 0, example, episode), (overview, crops[episode]), turns)
            for example, (overview, crops) in enumerate(given)
            for episode in range(GROUP)
        ]
        times = timing.paired(
            {
                "ours": lambda: roll_out(world.scheduler(), plans),
                "transformers": lambda: self.peer.roll_out(plans),
            },
            repetitions=max(1, self.repetitions // 3),
        )
        job = floors.ZoomRollOut(GROUPS, GROUP, OVERVIEW, CROP, prompt, FIRST_TURN, crop, ANSWER)
        return {
            **_beside_peer(times, len(plans) * (FIRST_TURN + ANSWER)),
            **job.floor(self.config).beside(times["ours"]["median_ms"], *self.peaks),
            "compilations": world.sampler.compilations(),
        }

    def _zoom_shapes(self, prompt: int, crop: int) -> Shapes:
        own = FIRST_TURN + crop + ANSWER
        merged = self.config.vision.spatial_merge_size**2
        images = GROUPS * (math.prod(OVERVIEW) + GROUP * math.prod(CROP)) // merged
        shapes = Shapes(self.slots, prompt + own, (prompt,), (crop,), images, chunk=32)
        if not shares_prompts(prompt, GROUP):
            return shapes
        return dataclasses.replace(shapes, cache=own, prefixes=self.slots // GROUP + 1, group=GROUP)

    def group(self) -> dict:
        """The first tokens of a group of 8 over an image prompt of 1,000 tokens, and of 8 prompts of that length."""
        images = [random_image(self.rng, LARGE) for _ in range(GROUP)]
        prompts = [_given(self.rng, self.config, [image], 37) for image in images]
        shapes = Shapes(GROUP, 1001, (1000,), (), GROUP * 961)
        world = _World(self.config, self.params, shapes)

        def side(prompts: Sequence[Given]) -> Callable[[], object]:
            plans = [Plan(Stream(0, 0, 0, i), (p,), (TurnSettings(1),)) for i, p in enumerate(prompts)]
            return lambda: roll_out(world.scheduler(), plans)

        times = timing.paired(
            {"group": side(prompts[:1] * GROUP), "separate": side(prompts)},
            repetitions=max(1, self.repetitions // 3),
        )
        floor = floors.prefill(self.config, len(prompts[0].tokens), LARGE)
        return {
            **times,
            "part_of_separate": 1 / times["separate"]["ratio_to_first"],
            **floor.beside(times["group"]["median_ms"], *self.peaks),
        }

    def shared_prompts(self) -> dict:
        """A decode step of 32 rows in groups of 8, each row with its copy of the prompt and with a shared one."""
        return {f"prompt_{length}": self._shared_at(length) for length in PROMPT_LENGTHS}

    def _shared_at(self, length: int) -> dict:
        steps = 32
        prompts = [Given(self.rng.integers(0, 280, length).astype(np.int32)) for _ in range(ROWS // GROUP)]
        plans = [
            Plan(Stream(0, 0, i // GROUP, i % GROUP), (prompts[i // GROUP],), (TurnSettings(steps),))
            for i in range(ROWS)
        ]
        copied = Shapes(ROWS, length + steps, (length,), (), 1, chunk=steps)
        shared = dataclasses.replace(copied, cache=steps, prefixes=len(prompts), group=GROUP)
        sides = {}
        for name, shapes in (("copied", copied), ("shared", shared)):
            scheduler = _World(self.config, self.params, shapes).scheduler()
            sides[name] = functools.partial(_decode_only, scheduler, plans)
        return _decode_times(sides, self.repetitions)


def _decode_only(scheduler: Scheduler, plans: Sequence[Plan]) -> float:
    """Seconds of the decode calls alone."""
    seconds = 0.0
    decode = scheduler.sampler.decode

    def timed(*args, **kwargs):
        nonlocal seconds
        (out, elapsed) = timing.elapsed(lambda: jax.block_until_ready(decode(*args, **kwargs)))
        seconds += elapsed
        return out

    scheduler.sampler.decode = timed
    roll_out(scheduler, plans)
    scheduler.sampler.decode = decode
    return seconds


def _decode_times(sides: dict[str, Callable[[], float]], repetitions: int) -> dict:
    for side in sides.values():
        side()
    seconds = {name: min(side() for _ in range(repetitions)) for name, side in sides.items()}
    return {
        **{f"{name}_ms": 1e3 * value for name, value in seconds.items()},
        "times_as_fast": seconds["copied"] / seconds["shared"],
    }


class _Peer:
    """`transformers.generate` of the same parameters."""

    def __init__(self, config: Config, params: Params):
        from vigorl_jax.testing.reference import Reference

        self.config = config
        with tempfile.TemporaryDirectory() as folder:
            weights.save(folder, config, params)
            self.model = Reference(folder).model

    def roll_out(self, plans: Sequence[Plan]) -> None:
        """All episodes in one batch, each dialogue read again at each turn."""
        given = [plan.given[0] for plan in plans]
        banned = decoding.banned_tokens(self.config)
        for turn in range(len(plans[0].given)):
            rows = self.generate(given, plans[0].settings[turn].max_tokens, 1.0)
            # Banning image tokens inside `generate` would cost it time: the few that it sampled are exchanged here.
            start = len(given[0].tokens)
            rows[:, start:] = np.where(banned[rows[:, start:]], 0, rows[:, start:])
            if turn + 1 < len(plans[0].given):
                following = [plan.given[turn + 1] for plan in plans]
                given = [
                    Given(np.concatenate([row, new.tokens]), (*old.images, *new.images))
                    for row, old, new in zip(rows, given, following, strict=True)
                ]

    def generate(self, given: Sequence[Given], new_tokens: int, temperature: float) -> np.ndarray:
        """Rows of equal length, each with its `new_tokens` more."""
        import torch

        ids = torch.tensor(np.stack([row.tokens for row in given]), dtype=torch.long)
        images = [image for row in given for image in row.images]
        patches = pixels(images, sum(image.patches.count for image in images))
        sampling = {"do_sample": False} if temperature == 0 else {"do_sample": True, "top_k": 0, "top_p": 1.0}
        self.model.model.rope_deltas = None
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == self.config.image_token_id).int(),
                pixel_values=torch.tensor(np.array(patches)),
                image_grid_thw=torch.tensor([image.grid for image in images]),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                eos_token_id=None,
                pad_token_id=0,
                **sampling,
            )
        return out.numpy()


def _beside_peer(times: dict, tokens: int) -> dict:
    rows = {
        name: {**values, "tokens_per_s": 1e3 * tokens / values["median_ms"]} for name, values in times.items()
    }
    return {**rows, "times_as_fast": times["transformers"]["ratio_to_first"]}


def _ragged_lengths() -> dict:
    """Row-steps of continuous batching and of lock-step batches, for turns of geometric length."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(1 / MEAN_LENGTH, RAGGED_EPISODES), LONGEST)
    prompt = Given(rng.integers(0, 280, 8).astype(np.int32))
    shapes = Shapes(RAGGED_SLOTS, 8 + LONGEST, (8,), (), 1)
    scheduler = _World(TINY, random_params(TINY, 0), shapes).scheduler()
    plans = [
        Plan(Stream(0, 0, 0, i), (prompt,), (TurnSettings(int(length)),)) for i, length in enumerate(lengths)
    ]
    roll_out(scheduler, plans)
    lock_step = int(lengths.reshape(-1, RAGGED_SLOTS).max(axis=1).sum()) * RAGGED_SLOTS
    account = dataclasses.asdict(scheduler.account)
    return {
        **account,
        "least_row_steps": int(lengths.sum()),
        "lock_step_row_steps": lock_step,
        "part_of_lock_step": scheduler.account.row_steps / lock_step,
    }


def _logprob_gap(dtype: jnp.dtype) -> dict:
    """Reported log-probs against one pass over the whole dialogue in the same dtype, crops included."""
    params = random_params(TINY, 0, dtype)
    rng = np.random.default_rng(0)
    shapes = Shapes(8, 256, (64,), (32,), 512)
    world = _World(TINY, params, shapes, dtype)
    plans = []
    for i in range(8):
        given = [_given(rng, TINY, [random_image(rng, grid)], 8) for grid in (SMALL, (1, 4, 4))]
        plans.append(Plan(Stream(0, 0, i, 0), tuple(given), (TurnSettings(48, top_p=0.9), TurnSettings(32))))
    logits, banned = teacher_forced(TINY, params), decoding.banned_tokens(TINY)
    gaps = []
    for transcript in roll_out(world.scheduler(), plans):
        whole = np.asarray(jax.nn.log_softmax(np.where(banned, -np.inf, logits(transcript))))
        for start, turn in transcript.turns:
            rows = start - 1 + np.arange(len(turn.tokens))
            gaps.append(np.abs(whole[rows, turn.tokens] - turn.logprobs))
    gaps = np.concatenate(gaps)
    return {"tokens": len(gaps), "largest": float(gaps.max()), "mean": float(gaps.mean())}
