"""Rows of the table: the released ViGoRL training data, and layouts for data of one's own.

The release has one tar a domain. Numbers of records are not published, so none can be verified.
"""

import dataclasses
from collections.abc import Mapping

from vigorl_jax.datasets.dataset import Dataset, Form
from vigorl_jax.datasets.layouts import episodes, released
from vigorl_jax.datasets.layouts.layout import Layout

HUB = "gsarch/vigorl_datasets"
CITATION = "Sarch et al. 2025, Grounded Reinforcement Learning for Visual Reasoning, arXiv:2505.23678"
_CROPS = ("MCTS_VSTAR_20250514_134727_images_1.tar", "MCTS_VSTAR_20250514_134727_images_2.tar")
_CHAINS = {"train": "MCTS_72b_reasoning_chains_train.json", "val": "MCTS_72b_reasoning_chains_val.json"}


@dataclasses.dataclass(frozen=True)
class _Domain:
    """One tar of the release: its task, folder, size, kind of records, and file names."""

    task: str
    folder: str
    size: str
    sample: str
    rl: Mapping[str, str]
    search: str
    chains: Mapping[str, str]


_DOMAINS = (
    _Domain(
        task="spatial",
        folder="spatial_reasoning",
        size="11.2 GB",
        sample="open",
        rl={"train": "vigorl_sat2_train_RL.jsonl", "val": "vigorl_sat2_val_RL.jsonl"},
        search="vigorl_sat2_MCTS.jsonl",
        chains=_CHAINS,
    ),
    _Domain(
        task="visual_search",
        folder="visual_search",
        size="12.3 GB",
        sample="open",
        rl={"train": "vigorl_SA_RL.jsonl"},
        search="vigorl_search_MCTS.jsonl|vigorl_SA_MCTS.jsonl",
        chains={"train": "MCTS_72b_reasoning_chains_train_MULTITURN.json"},
    ),
    _Domain(
        task="web_grounding",
        folder="web_grounding",
        size="12.7 GB",
        sample="box",
        rl={"train": "vigorl_osatlas_train_RL.jsonl", "val": "vigorl_osatlas_val_RL.jsonl"},
        search="vigorl_osatlas_MCTS.jsonl",
        chains=_CHAINS,
    ),
    _Domain(
        task="web_action",
        folder="web_action",
        size="203 MB",
        sample="action",
        rl={"train": "vigorl_ical_train_RL.jsonl", "val": "vigorl_ical_val_RL.jsonl"},
        search="vigorl_web_action_MCTS.jsonl",
        chains=_CHAINS,
    ),
)


def _row(
    domain: _Domain, suffix: str, title: str, layout: Layout, files: Mapping[str, str], **more
) -> Dataset:
    archives = more.pop("archives", (f"{domain.folder}.tar",))
    patterns = {
        split: "|".join(f"{domain.folder}/{name}" for name in file.split("|"))
        for split, file in files.items()
    }
    given = {"size": domain.size, "sample": domain.sample, **more}
    return Dataset(
        name=f"vigorl_{domain.task}{suffix}",
        task=domain.task,
        title=f"ViGoRL {title}, {domain.task.replace('_', ' ')}",
        source=f"Hugging Face {HUB}: {', '.join(archives)}",
        licence="MIT",
        citation=CITATION,
        forms=(Form(layout, patterns, archives),),
        hub=HUB,
        hub_files=archives,
        **given,
    )


def _dialogues(domain: _Domain) -> Dataset:
    more = {"sample": "dialogue"}
    if domain.task == "visual_search":  # Multi-turn dialogues show crops, which have archives of their own.
        more |= {"archives": (f"{domain.folder}.tar", *_CROPS), "size": "100.5 GB"}
    return _row(domain, "_sft", "SFT dialogues", released.DIALOGUES, domain.chains, **more)


RELEASED = (
    *(_row(domain, "", "RL questions", released.RL_JSONL, domain.rl) for domain in _DOMAINS),
    *(
        _row(domain, "_mcts", "tree search questions", released.CONVERSATIONS, {"train": domain.search})
        for domain in _DOMAINS
    ),
    *map(_dialogues, _DOMAINS),
)


GLYPH_SEARCH = Dataset(
    name="glyph_search",
    task="glyph_search",
    title="GlyphSearch, generated visual search",
    source="made here, without a download: datasets.glyph_export, or --make_sample for the first level",
    size="10 KB an example on the first level",
    licence="as this project",
    citation="this project",
    forms=(
        Form(
            released.BOXED_RL_JSONL,
            {split: f"glyph_search/glyph_search_{split}_RL.jsonl" for split in ("train", "val")},
        ),
    ),
    sample="glyph",
)


def _own(
    name: str, title: str, layout: Layout, pattern: str, sample: str, box: str = "xyxy_pixels"
) -> Dataset:
    return Dataset(
        name=name,
        task="",
        title=title,
        source="your own files",
        size="-",
        licence="yours",
        citation="yours",
        forms=(Form(layout, {"train": pattern}, box=box),),
        sample=sample,
    )


OWN_LAYOUTS = (
    _own("rl_jsonl", "RL records: problem, answer, images", released.RL_JSONL, "*.jsonl", "open"),
    _own("rl_parquet", "RL records as parquet (EasyR1)", released.RL_PARQUET, "*.parquet", "open"),
    _own("conversations", "Records with id, image, conversations", released.CONVERSATIONS, "*.jsonl", "open"),
    _own("dialogues", "Chat messages with images (sharegpt)", released.DIALOGUES, "*.json", "dialogue"),
    _own(
        "episodes",
        "Episodes written by this project",
        episodes.EPISODES,
        "episode*.json",
        "episode",
        "xyxy_shown",
    ),
)
