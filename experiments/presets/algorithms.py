"""The published algorithms by the values in which they differ; `--algorithm` sets these on any preset.

What they have in common with the official code (temperature, group size, learning rate) stays the preset's.
"""

from collections.abc import Mapping
from typing import Any

_NO_KL: Mapping[str, Any] = {"kl_coefficient": 0.0, "reference": "none"}

ALGORITHMS: Mapping[str, Mapping[str, Any]] = {
    # As in the official code; the group size and the rest are the preset's.
    "grpo": {
        "surrogate": "clipped_ratio",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "clip_dual": 3.0,
        "aggregation": "token_mean",
        "advantage": "group_normalised",
    },
    # arXiv:2503.14476: clip-higher, token mean, dynamic sampling, and no gradient from what a limit cut off.
    "dapo": {
        **_NO_KL,
        "surrogate": "clipped_ratio",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "clip_dual": None,
        "aggregation": "token_mean",
        "advantage": "group_normalised",
        "dynamic_sampling": True,
        "overlong": "drop",
    },
    # arXiv:2503.20783: neither the standard deviation nor an episode's own length divides.
    "dr_grpo": {
        **_NO_KL,
        "surrogate": "clipped_ratio",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "clip_dual": None,
        "aggregation": "constant_length",
        "advantage": "centred",
    },
    # arXiv:2507.18071: ratio, clip and mean of whole episodes.
    "gspo": {
        **_NO_KL,
        "surrogate": "sequence_ratio",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
        "clip_dual": None,
        "aggregation": "sequence_mean",
        "advantage": "group_normalised",
    },
    # arXiv:2506.13585: clipped weights; the paper does not print its upper bound, 4 is ours.
    "cispo": {
        **_NO_KL,
        "surrogate": "clipped_weight",
        "clip_low": 1.0,
        "clip_high": 4.0,
        "clip_dual": None,
        "aggregation": "token_mean",
        "advantage": "group_normalised",
    },
    # arXiv:2402.14740: each episode is compared with the others of its group.
    "rloo": {
        "surrogate": "clipped_ratio",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "clip_dual": None,
        "aggregation": "token_mean",
        "advantage": "leave_one_out",
    },
}
