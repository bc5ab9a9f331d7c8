"""The runs of the paper's main tables: every domain in every condition at both sizes, and their warm starts."""

from experiments.presets import paper
from experiments.presets.domains import CONDITIONS, DOMAINS, SIZES, Domain, base_model
from experiments.presets.preset import Preset, Values, cite, make
from vigorl_jax.reasoning.prompts import Condition
from vigorl_jax.runs.settings import GrpoRun, SftRun

# (domain, condition, size) -> where the paper prints the result.
RESULTS = {
    ("web_grounding", "vanilla", "3b"): "Table 1, vanilla GRPO",
    ("web_grounding", "grounded", "3b"): "Table 1, ViGoRL-3B",
    ("web_grounding", "multiturn", "3b"): "Table 1, multi-turn ViGoRL-3B",
    ("web_grounding", "grounded", "7b"): "Table 1, ViGoRL-7B",
    ("web_action", "vanilla", "3b"): "Table 1, VisualWebArena, vanilla GRPO",
    ("web_action", "grounded", "3b"): "Table 1, VisualWebArena, ViGoRL-3B",
    ("web_action", "grounded", "7b"): "Table 1, VisualWebArena, ViGoRL-7B",
    ("spatial", "vanilla", "3b"): "Table 2, vanilla GRPO",
    ("spatial", "grounded", "3b"): "Table 2, ViGoRL-3B",
    ("spatial", "grounded", "7b"): "Table 2, ViGoRL-7B",
    ("visual_search", "grounded", "3b"): "Table 3, ViGoRL-3B (single turn)",
    ("visual_search", "multiturn", "3b"): "Table 3, multi-turn ViGoRL-3B",
    ("visual_search", "multiturn", "7b"): "Table 3, multi-turn ViGoRL-7B",
}
_BY_ANALOGY = "not in the paper, set as its neighbours are"


def grpo_values(domain: Domain, condition: str) -> Values:
    """The values of reinforcement learning on a domain."""
    table = paper.GRPO_MULTITURN if condition == "multiturn" else paper.GRPO_SINGLE_TURN
    zoom = domain.zoom if condition == "multiturn" else _unused(domain.zoom)
    return {**table, **cite("the run's name", condition=Condition(condition)), **zoom, **domain.data}


def sft_values(domain: Domain, condition: str) -> Values:
    """The values of a warm start; validation rolls out on the questions of reinforcement learning."""
    table = paper.SFT_MULTITURN if condition == "multiturn" else paper.SFT_SINGLE_TURN
    zoom = domain.sft_zoom if condition == "multiturn" else _unused(domain.sft_zoom)
    asked = {name: value for name, value in domain.data.items() if name != "split"}
    named = cite("the run's name", condition=Condition(condition))
    return {**table, **named, **zoom, **asked, **domain.taught(condition)}


def _unused(zoom: Values) -> Values:
    return cite("one turn: not used", **{name: value.value for name, value in zoom.items()})


def _grpo(domain: Domain, condition: str, size: str) -> Preset:
    result = RESULTS.get((domain.name, condition, size), _BY_ANALOGY)
    initial = base_model(size) if condition == "vanilla" else domain.warm_start(condition, size)
    title = f"GRPO, {domain.name.replace('_', ' ')}, {condition}, {size.upper()}: {result}"
    return make(GrpoRun, f"{domain.name}_{condition}_{size}", title, initial, grpo_values(domain, condition))


def _sft(domain: Domain, condition: str, size: str) -> Preset:
    title = f"warm start of {domain.name}_{condition}_{size}"
    if RESULTS.get((domain.name, condition, size)) is None:
        title += f": {_BY_ANALOGY}"
    name = f"{domain.name}_{condition}_{size}_sft"
    return make(SftRun, name, title, base_model(size), sft_values(domain, condition))


def _direct(domain: Domain, size: str) -> Preset:
    """SFT direct: the answers alone, of the questions whose chains the warm start teaches."""
    values = {
        **sft_values(domain, "vanilla"),
        **cite("the baseline SFT direct: answers without thoughts", condition=Condition.BASE),
        **cite("section 5: the questions of the warm start", datasets=(f"vigorl_{domain.name}_mcts",)),
        **cite(
            "ours: a validation needs a reward, and bare answers have none",
            validation_datasets=(),
            validate_every=None,
        ),
    }
    tables = {"web_grounding": "Table 1", "web_action": "Table 1", "spatial": "Table 2"}
    is_printed = size == "3b" and domain.name in tables
    result = f"{tables[domain.name]}, SFT direct" if is_printed else _BY_ANALOGY
    title = f"SFT on answers alone, {domain.name.replace('_', ' ')}, {size.upper()}: {result}"
    return make(SftRun, f"{domain.name}_direct_{size}_sft", title, base_model(size), values)


GRPO = tuple(
    _grpo(domain, condition, size) for domain in DOMAINS for condition in CONDITIONS for size in SIZES
)
SFT = (
    *(_sft(domain, condition, size) for domain in DOMAINS for condition in CONDITIONS[1:] for size in SIZES),
    *(_direct(domain, size) for domain in DOMAINS for size in SIZES),
)
