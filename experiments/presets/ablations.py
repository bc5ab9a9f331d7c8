"""The runs behind the paper's ablations: Tables 3, 4, A8 and A9. All of them at 3B, as printed."""

import pathlib

from experiments.presets import euclidean_reward
from experiments.presets.domains import SPATIAL, VISUAL_SEARCH, WEB_GROUNDING, Domain, base_model
from experiments.presets.grid import grpo_values, sft_values
from experiments.presets.preset import Preset, Values, cite, make
from vigorl_jax.runs.settings import GrpoRun, SftRun

_BASE = base_model("3b")
_NOT_RELEASED = "not released: made with search_trees, in the layout dialogues"


def _pair(
    name: str,
    result: str,
    domain: Domain,
    condition: str,
    taught: Values,
    changed: Values,
    first: str = _BASE,
) -> tuple[Preset, Preset]:
    """A warm start and the reinforcement learning behind it."""
    warm_start = make(
        SftRun, f"{name}_sft", f"warm start of {name}", first, {**sft_values(domain, condition), **taught}
    )
    initial = f"the model of {name}_sft"
    run = make(GrpoRun, name, result, initial, {**grpo_values(domain, condition), **changed})
    return warm_start, run


_NO_GROUNDING_SFT, _NO_GROUNDING = _pair(
    "spatial_no_grounding_3b",
    "Table 4, without grounding: the same chains and episodes without points",
    SPATIAL,
    "vanilla",
    {
        **cite("released chains of the tree search", datasets=("vigorl_spatial_sft",)),
        **cite("Table 4: thoughts without points", points="remove"),
    },
    {},
)
_LINEAR_SFT, _LINEAR = _pair(
    "spatial_linear_distillation_3b",
    "Table 4, distillation without tree search: the teacher's plain replies are taught",
    SPATIAL,
    "grounded",
    cite(f"Table 4: linear rollouts of the teacher; {_NOT_RELEASED}", datasets=("dialogues",)),
    {},
)
_PRETRAINED_SFT, _PRETRAINED = _pair(
    "spatial_direct_pretrain_3b",
    "Table 4, with SFT direct before the warm start",
    SPATIAL,
    "grounded",
    {},
    {},
    first="the model of spatial_direct_3b_sft",
)
_BOXES_SFT, _BOXES = _pair(
    "visual_search_boxes_3b",
    "Table 3, bounding boxes in place of points",
    VISUAL_SEARCH,
    "multiturn",
    {
        **cite("Table 3: calls with boxes", call_form="box"),
        **cite(f"Table 3: calls with boxes; {_NOT_RELEASED}", datasets=("dialogues",)),
    },
    {
        **cite("Table 3: calls with boxes", call_form="box"),
        **cite("ours: the published rewards find points only", reward_preset="gated"),
    },
)
_TWO_DOMAINS = ("vigorl_spatial", "vigorl_web_grounding")
_COMBINED_SFT, _COMBINED = _pair(
    "combined_grounded_3b",
    "Table A8, spatial and web data in one run",
    SPATIAL,
    "grounded",
    {
        **cite("Table A8", datasets=tuple(f"{name}_sft" for name in _TWO_DOMAINS)),
        **cite("sets of both domains", validation_datasets=_TWO_DOMAINS),
    },
    {
        **cite("Table A8; the paper gives no shares: every example equally often", datasets=_TWO_DOMAINS),
        **cite("sets of both domains", validation_datasets=_TWO_DOMAINS),
    },
)
_NO_WARM_START = make(
    GrpoRun,
    "spatial_no_warm_start_3b",
    "Table 4, without warm start: never a valid format in the paper",
    _BASE,
    grpo_values(SPATIAL, "grounded"),
)
_NO_DIVERSITY = make(
    GrpoRun,
    "visual_search_no_diversity_3b",
    "Table 3, without the diversity bonus",
    VISUAL_SEARCH.warm_start("multiturn", "3b"),
    grpo_values(VISUAL_SEARCH, "multiturn"),
    cite("Table 3: without the bonus", diversity_bonus=False),
)
_EUCLIDEAN = make(
    GrpoRun,
    "web_grounding_euclidean_3b",
    "Table A9, a reward that falls with the distance",
    WEB_GROUNDING.warm_start("grounded", "3b"),
    grpo_values(WEB_GROUNDING, "grounded"),
    cite(
        "Table A9; the paper prints no formula: exp(-distance to the middle / 100 pixels) is ours",
        reward=f"{pathlib.Path(euclidean_reward.__file__)}:compute_score",
    ),
)

GRPO = (
    _NO_GROUNDING,
    _NO_WARM_START,
    _LINEAR,
    _PRETRAINED,
    _NO_DIVERSITY,
    _BOXES,
    _EUCLIDEAN,
    _COMBINED,
)
SFT = (_NO_GROUNDING_SFT, _LINEAR_SFT, _PRETRAINED_SFT, _BOXES_SFT, _COMBINED_SFT)
