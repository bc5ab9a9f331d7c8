"""Tiny runs on generated scenes: seconds to start and minutes to learn, on a CPU, without files or a model."""

import dataclasses

from experiments.presets.preset import TINY, Preset, Values, cite, make
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.settings import GrpoRun, SftRun
from vigorl_jax.runs.tiny_world import dialogues
from vigorl_jax.runs.tiny_world.examination import GROUP_SIZE, LEAST_ROWS, PROMPT_TOKENS, SLOTS
from vigorl_jax.tasks.glyph_levels import LEVEL_1
from vigorl_jax.tasks.glyph_search import ZOOM

_STUDY = "tiny world: the recipe that works"
_RATE = "measured: half the steps of AdamW; half as much again, for kernels or the rest, forgets"
_LEVEL = f"glyph_search/{LEVEL_1.name}"
_EPISODES: Values = {
    **cite(_STUDY, datasets=(_LEVEL,), validation_datasets=(_LEVEL,), validation_size=256),
    **cite(_STUDY, max_pixels=LEVEL_1.overview[0] * LEVEL_1.overview[1]),
    **cite(_STUDY, zoom_offset=ZOOM.offset, zoom_side=ZOOM.side, zoom_dot=ZOOM.dot, zoom_edges="snap"),
    **cite("tiny world: temperature 1, as in training", validation_temperature=1.0),
    **cite("the vocabulary of the tiny model", prompt="tiny", max_prompt_tokens=PROMPT_TOKENS),
    **cite("tiny world: answers are not forced", forces_answer=False),
    **cite("tiny world: in float32", compute_dtype="float32"),
    **cite("a small model on one device", mesh="data=-1", remat="none"),
}
_GRPO: Values = {
    **_EPISODES,
    **cite(_STUDY, examples_per_step=16, group_size=GROUP_SIZE, temperature=1.0, b2=0.95),
    **cite(_RATE, optimiser="muon", learning_rate=2e-3, muon_rms=0.12, muon_momentum=0.8, schedule="linear"),
    **cite("the tower of the warm start knows enough; trained at this rate, it forgets", frozen="vision"),
    **cite(_STUDY, warmup_steps=5, clip_low=0.2, clip_high=0.2, clip_dual=None, kl_coefficient=0.0),
    **cite(_STUDY, num_steps=60, weight_decay=0.0),
    **cite("measured: as many updates cost half the roll outs", updates_per_step=2),
    **cite("no KL: groups of equal rewards teach nothing", reference="none", drops_zero=True),
    **cite("tiny world: 0.6 accuracy + 0.4 format", reward_preset="gated", diversity_bonus=False),
    **cite("Adam's step of tokens that never come up is all noise with 1e-8", adam_eps=1e-5),
    **cite("all episodes at once; calls are short, programs are not", slots=SLOTS, least_rows=LEAST_ROWS),
    **cite("so small, a micro-batch stays near the processor", micro_rows=8),
    **cite("often enough to watch", checkpoint_every=20, validate_every=20, report_every=20),
}
_SFT: Values = {
    **_EPISODES,
    **cite(_STUDY, learning_rate=1e-3, batch_size=32, num_steps=300, weight_decay=0.0, frozen="nothing"),
    **cite(
        "all dialogues at once: two in a row, so that one compiled update serves every step",
        row_length=256,
        micro_rows=20,
    ),
    **cite("often enough to watch", checkpoint_every=100, validate_every=100, report_every=100),
}
_ROLES = {
    "multiturn": "with zooms",
    "grounded": "control: points without zooms, from which no letter can be read",
    "vanilla": "control: answers without points or zooms, from which no letter can be read",
}


def _values(condition: str) -> Values:
    limits = dialogues.limits(Condition(condition))
    return {
        **cite("the run's name", condition=Condition(condition)),
        **cite("room for the scripted teacher's dialogues", **dataclasses.asdict(limits)),
    }


def _rows(condition: str) -> Values:
    held = dialogues.limits(Condition(condition))
    return {
        **cite("two dialogues, or the longest", row_length=dialogues.row_length(held)),
        **cite("whatever they say: no step compiles anew", row_targets=dialogues.ROW_TARGETS),
    }


def _name(condition: str) -> str:
    return "glyph_search_tiny" if condition == "multiturn" else f"glyph_search_tiny_{condition}"


def _grpo(condition: str) -> Preset:
    title = f"GRPO of a tiny model on generated scenes, {_ROLES[condition]}"
    return make(GrpoRun, _name(condition), title, TINY, _GRPO, _values(condition), _rows(condition))


def _sft(condition: str) -> Preset:
    title = f"the scripted teacher's dialogues for a tiny model, {_ROLES[condition]}"
    return make(SftRun, f"{_name(condition)}_sft", title, TINY, _SFT, _values(condition))


GRPO = tuple(map(_grpo, _ROLES))
SFT = tuple(map(_sft, _ROLES))
