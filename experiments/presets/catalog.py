"""All presets by name."""

import difflib
from collections.abc import Mapping

from experiments.presets import ablations, grid, tiny
from experiments.presets.preset import Preset

GRPO: Mapping[str, Preset] = {p.name: p for p in (*tiny.GRPO, *grid.GRPO, *ablations.GRPO)}
SFT: Mapping[str, Preset] = {p.name: p for p in (*tiny.SFT, *grid.SFT, *ablations.SFT)}


def find(presets: Mapping[str, Preset], name: str) -> Preset:
    """The preset of this name.

    Raises:
      ValueError: there is none; the message has the names that are near.
    """
    if name in presets:
        return presets[name]
    near = difflib.get_close_matches(name, presets, n=3, cutoff=0.5)
    raise ValueError(
        f"there is no preset {name!r}{elsewhere(presets, name)}; "
        + (f"near are {', '.join(near)}; " if near else "")
        + "--list_presets shows all"
    )


def elsewhere(presets: Mapping[str, Preset], name: str) -> str:
    """Says which binary knows the name, where the other one does."""
    for binary, others in (("train_grpo", GRPO), ("train_sft", SFT)):
        if others is not presets and name in others:
            return f" here, it is one of {binary}"
    return ""
