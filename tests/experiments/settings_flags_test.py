"""Flags of runs: one for every value, each of which is set to something else and read back."""

import pytest
from absl import flags

from experiments import settings_flags
from experiments.presets import catalog
from vigorl_jax.runs import fields
from vigorl_jax.runs.settings import GrpoRun, SftRun
from vigorl_jax.training import optimiser

# What values without a list of choices or a number can be changed to.
OTHER_TEXT = {
    "model": "elsewhere",
    "workdir": "somewhere",
    "mesh": "fsdp=2,tensor=2",
    "data_dir": "data",
    "split": "train[:8]",
    "validation_split": "train",
    "datasets": "vstar,blink",
    "validation_datasets": "vstar",
    "weights": "2.5",
    "prompt": "own",
    "decayed": "matrices",
    "frozen": "tower",
    "weights_dtype": "bfloat16",
    "compute_dtype": "bfloat16",
    "remat": "full",
    "lora_modules": "layers/0",
    "lora_quantised": "int8",
    "best_metric": "reward",
    "wandb_project": "grounded",
    "reward": "text_multiturn",
    "validation_size": "7",
    "updates_per_step": "4",
    "row_length": "512",
    "clip_low": "0.1",
    "clip_dual": "1.5",
    "max_turns": "7",
    "max_turn_tokens": "30",
    "warmup_ratio": "0.5",
}
# What has to change with a value for the two not to contradict each other.
COMPANIONS = {
    "condition": ["--max_zooms=0"],
    "surrogate": ["--clip_dual=none"],
    "overlong": ["--overlong_buffer=4"],
    "overlong_buffer": ["--overlong=penalise"],
    "overlap": ["--importance_cap=2"],
    "kl_coefficient": ["--reference=device"],
    "adapters": ["--frozen=vision"],
    "warmup_ratio": ["--warmup_steps=0"],
    "max_zooms": ["--condition=grounded"],
    "points": ["--condition=vanilla", "--max_zooms=0"],
}
# Values that are changed to a certain other one, because the first one that comes to mind contradicts the preset.
OTHER_CHOICE = {"condition": "grounded", "overlong": "penalise", "max_zooms": "0"}
CASES = [
    (run, name)
    for run, preset in ((GrpoRun, "glyph_search_tiny"), (SftRun, "glyph_search_tiny_sft"))
    for name in fields.leaves(run)
]
PRESETS = {GrpoRun: "glyph_search_tiny", SftRun: "glyph_search_tiny_sft"}


def _flags(run, *arguments):
    values = flags.FlagValues()
    settings_flags.define(run, values)
    values(["binary", *arguments])
    return values


def _read(run, *arguments):
    return settings_flags.read(run, _flags(run, *arguments))


def _other(leaf, value):
    """Another valid value of a leaf, as text for its flag."""
    if leaf.name in OTHER_CHOICE:
        return OTHER_CHOICE[leaf.name]
    choices = optimiser.KINDS if leaf.name == "optimiser" else fields.choices(leaf.kind)
    if choices:
        return str(next(choice for choice in choices if choice != value))
    if leaf.name in OTHER_TEXT:
        return OTHER_TEXT[leaf.name]
    if leaf.kind is bool:
        return str(not value).lower()
    assert leaf.kind in (int, float), f"say in OTHER_TEXT what {leaf.name} can be changed to"
    if value is None:
        return "7"
    return str(value + 1 if leaf.kind is int else value / 2 or 0.5)


def _parsed(text, kind):
    if kind in (int, float):
        return kind(text)
    if kind is bool:
        return text == "true"
    if kind == tuple[str, ...]:
        return tuple(text.split(","))
    return (float(text),) if kind == tuple[float, ...] else text


@pytest.mark.parametrize(("run", "name"), CASES, ids=[f"{run.__name__}-{name}" for run, name in CASES])
def test_every_flag_changes_its_value_and_no_other(run, name):
    before = fields.values(_read(run, f"--preset={PRESETS[run]}"))
    leaf = fields.leaves(run)[name]
    text = _other(leaf, before[name])
    companions = COMPANIONS.get(name, [])
    after = fields.values(_read(run, f"--preset={PRESETS[run]}", f"--{name}={text}", *companions))
    assert after[name] == _parsed(text, leaf.kind) != before[name]
    touched = {name, *(flag[2:].split("=")[0] for flag in companions)}
    assert {key: after[key] for key in after if key not in touched} == {
        key: before[key] for key in before if key not in touched
    }


@pytest.mark.parametrize("run", [GrpoRun, SftRun])
def test_every_value_that_may_be_none_can_be_set_to_none(run):
    optional = [name for name, leaf in fields.leaves(run).items() if leaf.is_optional]
    assert "max_grad_norm" in optional
    for name in optional:
        settings = _read(run, f"--preset={PRESETS[run]}", f"--{name}=none")
        assert fields.values(settings)[name] is None


def test_the_last_flag_wins_and_no_flag_leaves_the_preset():
    assert _read(GrpoRun, "--preset=glyph_search_tiny") == catalog.GRPO["glyph_search_tiny"].settings
    assert _read(GrpoRun, "--preset=glyph_search_tiny", "--seed=1", "--seed=2").seed == 2
    assert not _read(GrpoRun, "--preset=glyph_search_tiny", "--notensorboard").loop.tensorboard
    assert _read(GrpoRun, "--preset=glyph_search_tiny", "--validation_datasets=").validation.datasets == ()


def test_an_algorithm_is_set_below_the_other_flags():
    settings = _read(GrpoRun, "--preset=glyph_search_tiny", "--algorithm=dapo", "--clip_high=0.5")
    assert (settings.objective.clip_high, settings.advantages.dynamic_sampling) == (0.5, True)
    with pytest.raises(flags.UnrecognizedFlagError):
        _flags(SftRun, "--algorithm=dapo")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed=1"], "--preset is missing; --list_presets shows all"),
        (["--preset=glyph_serch_tiny"], "no preset 'glyph_serch_tiny'; near are glyph_search_tiny"),
        (
            ["--preset=spatial_grounded_7b"],
            "begins with gsarch/ViGoRL-MCTS-SFT-7b-Spatial, .* directory with --model",
        ),
        (["--preset=glyph_search_tiny", "--max_zooms=0"], "multiturn with max_zooms 0 never zooms"),
        (
            ["--preset=glyph_search_tiny", "--group_size=1"],
            "group_size is 1; give a whole number, at least 2",
        ),
        (
            ["--preset=glyph_search_tiny", "--reference=device", "--kl_coefficient=-1"],
            "kl_coefficient is -1.0; give",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as refused:
        _read(GrpoRun, *arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--seed=x", "flag --seed=x: give a whole number"),
        ("--seed=none", "flag --seed=none: give a whole number"),
        ("--clip_low=inf", "flag --clip_low=inf: give a finite number"),
        ("--clip_low=few", "flag --clip_low=few: give a number"),
        ("--weights=1,x", "flag --weights=1,x: give a number"),
        ("--condition=some", "flag --condition=some: give one of base, vanilla, grounded, multiturn"),
        ("--overlap=perhaps", "Non-boolean argument to boolean flag"),
    ],
)
def test_values_that_cannot_be_read_are_refused_with_their_flag(argument, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        _flags(GrpoRun, argument)


def test_the_list_and_the_table_show_presets():
    listed = settings_flags.overview(SftRun, _flags(SftRun, "--list_presets"))
    assert [line for line in listed.splitlines() if not line.startswith(" ")] == list(catalog.SFT)
    arguments = ("--preset=spatial_grounded_3b", "--show_preset", "--clip_dual=none")
    table = settings_flags.overview(GrpoRun, _flags(GrpoRun, *arguments)).splitlines()
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in table[4:] if len(line.split()) > 2}
    assert rows["group_size"] == ["5", "Table A2"]
    assert rows["clip_dual"] == ["none", "flag"]
    assert rows["tensorboard"] == ["true", "default"]
    assert (
        table[2]
        == "    begins with: gsarch/ViGoRL-MCTS-SFT-3b-Spatial, or the model of spatial_grounded_3b_sft"
    )
    assert settings_flags.overview(GrpoRun, _flags(GrpoRun, "--preset=glyph_search_tiny")) is None
