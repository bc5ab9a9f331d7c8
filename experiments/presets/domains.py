"""What differs from domain to domain: data, validation, zooms, and the models that runs begin with."""

import dataclasses

from experiments.presets.paper import HELD_OUT
from experiments.presets.preset import Values, cite

SIZES = ("3b", "7b")
CONDITIONS = ("vanilla", "grounded", "multiturn")
_A4 = "section 5"


@dataclasses.dataclass(frozen=True)
class Domain:
    """A domain of the paper.

    Attributes:
      name: Its task, and the prefix of its presets.
      label: Its name in the names of released models.
      released_warm_starts: (condition, size) of the supervised models that were released.
      data: Where its questions come from.
      chains: Conditions for which warm-start dialogues were released.
      zoom: How its zooms are cut in reinforcement learning.
      sft_zoom: How the crops of its stored dialogues were cut.
    """

    name: str
    label: str
    released_warm_starts: tuple[tuple[str, str], ...]
    data: Values
    chains: tuple[str, ...]
    zoom: Values
    sft_zoom: Values

    def warm_start(self, condition: str, size: str) -> str:
        """The supervised model that a run begins with: released, or the end of the preset before it."""
        own = f"the model of {self.name}_{condition}_{size}_sft"
        if (condition, size) not in self.released_warm_starts:
            return own
        middle = "Multiturn-MCTS-SFT" if condition == "multiturn" else "MCTS-SFT"
        return f"gsarch/ViGoRL-{middle}-{size}-{self.label}, or {own}"

    def taught(self, condition: str) -> Values:
        """The dialogues of a warm start."""
        if condition in self.chains:
            return cite("released chains of the tree search", datasets=(f"vigorl_{self.name}_sft",))
        return cite(
            "not released: dialogues made by linearize_trees, in the layout dialogues",
            datasets=("dialogues",),
        )


def base_model(size: str) -> str:
    """The model that everything goes back to."""
    return f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct"


def _zoom(source: str, offset: int, side: int, dot: bool) -> Values:
    return cite(source, zoom_offset=offset, zoom_side=side, zoom_dot=dot)


_SEARCH_ZOOM = _zoom("code: 364 x 364 to 672, no dot", 182, 672, False)
_OTHER_ZOOM = _zoom("by analogy with visual search: the paper has no zooms here", 182, 672, False)

SPATIAL = Domain(
    name="spatial",
    label="Spatial",
    released_warm_starts=(("grounded", "3b"), ("grounded", "7b")),
    data={
        **cite(f"{_A4}: 32,000 questions of SAT-2", datasets=("vigorl_spatial",)),
        **cite(f"{_A4}: 1,000 for validation", validation_datasets=("vigorl_spatial",), validation_size=1000),
    },
    chains=("grounded",),
    zoom=_OTHER_ZOOM,
    sft_zoom=_OTHER_ZOOM,
)
WEB_GROUNDING = Domain(
    name="web_grounding",
    label="Web-Grounding",
    released_warm_starts=(("grounded", "3b"), ("grounded", "7b"), ("multiturn", "3b")),
    data={
        **cite(f"{_A4}: 12,000 of OS-ATLAS", datasets=("vigorl_web_grounding",)),
        **cite(
            f"{_A4}: 1,500 for validation",
            validation_datasets=("vigorl_web_grounding",),
            validation_size=1500,
        ),
    },
    chains=("grounded",),
    zoom=_zoom("Table A3: 100 x 100 to 384; code: with a dot", 50, 384, True),
    sft_zoom=_zoom("code: 200 x 200 to 512, with a dot", 100, 512, True),
)
WEB_ACTION = Domain(
    name="web_action",
    label="Web-Action",
    released_warm_starts=(),
    data={
        **cite(f"{_A4}: 92 trajectories of ICAL", datasets=("vigorl_web_action",)),
        **cite("later code", validation_datasets=("vigorl_web_action",)),
    },
    chains=("grounded",),
    zoom=_OTHER_ZOOM,
    sft_zoom=_OTHER_ZOOM,
)
VISUAL_SEARCH = Domain(
    name="visual_search",
    label="Visual-Search",
    released_warm_starts=(("multiturn", "3b"), ("multiturn", "7b")),
    data={
        **cite(f"{_A4}: 11,000 made from Segment Anything", datasets=("vigorl_visual_search",)),
        **cite(
            "ours: some are held out for validation; the code validates on V*Bench, which is the test",
            split=f"train[{HELD_OUT}:]",
            validation_datasets=("vigorl_visual_search",),
            validation_split=f"train[:{HELD_OUT}]",
            validation_size=HELD_OUT,
        ),
        **cite("code", max_pixels=2_850_000),
    },
    chains=("multiturn",),
    zoom=_SEARCH_ZOOM,
    sft_zoom=_SEARCH_ZOOM,
)
DOMAINS = (SPATIAL, WEB_GROUNDING, WEB_ACTION, VISUAL_SEARCH)
