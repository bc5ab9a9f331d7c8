"""GlyphSearch written as files, in the layout of the released RL data."""

from collections.abc import Mapping
from pathlib import Path

from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.training_rows import GLYPH_SEARCH
from vigorl_jax.tasks.glyph_levels import Level
from vigorl_jax.tasks.glyph_search import GlyphExamples


def export(folder: Path, level: Level, counts: Mapping[str, int], seed: int = 0) -> dict[str, GlyphExamples]:
    """Writes `glyph_search/glyph_search_SPLIT_RL.jsonl` and images, for `prepare_data --dataset glyph_search`.

    Args:
      folder: Where to write; must not exist or be empty.
      level: Difficulty.
      counts: Examples of each split, "train" and "val"; no example is in both.
      seed: Number of the collection.

    Returns:
      Split -> the examples written.

    Raises:
      SourceError: the folder is not empty, or a split is missing or unknown.
    """
    form = GLYPH_SEARCH.forms[0]
    if counts.keys() != form.files.keys():
        raise SourceError(f"glyph_search has the splits {', '.join(form.files)}; got {', '.join(counts)}.")
    if folder.exists() and any(folder.iterdir()):
        raise SourceError(f"{folder} is not empty: give a new folder.")
    written, start = {}, 0
    for split, count in counts.items():
        written[split] = GlyphExamples(level, seed, count, start)
        form.layout.write(written[split], folder, form.files[split])
        start += count
    return written
