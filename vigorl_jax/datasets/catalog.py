"""The table of data sets by name: released and generated training data, benchmarks, layouts for data of one's own."""

from collections.abc import Mapping

from immutabledict import immutabledict

from vigorl_jax.datasets.benchmark_rows import BENCHMARKS
from vigorl_jax.datasets.dataset import Dataset
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.training_rows import GLYPH_SEARCH, OWN_LAYOUTS, RELEASED

_ROWS = (*RELEASED, GLYPH_SEARCH, *BENCHMARKS, *OWN_LAYOUTS)
CATALOG: Mapping[str, Dataset] = immutabledict({row.name: row for row in _ROWS})


def find(name: str) -> Dataset:
    """The data set of this name. Raises SourceError with the names that exist."""
    if name not in CATALOG:
        raise SourceError(f"No data set {name!r}; there are {', '.join(CATALOG)}.")
    return CATALOG[name]


def table_lines() -> list[str]:
    """The table for a person: name; title and published records a split; what to get from where."""
    found = []
    for row in _ROWS:
        counts = ", ".join(f"{split} {row.counts.get(split, '?')}" for split in row.splits)
        found += [
            row.name,
            f"    {row.title} [{counts}]",
            f"    get: {row.source}; {row.size}; {row.licence}",
        ]
    return found
