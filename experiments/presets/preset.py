"""The preset: named settings of which each value says where it comes from."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from immutabledict import immutabledict

from vigorl_jax.runs import fields
from vigorl_jax.runs.settings import GrpoRun, SftRun

# Models that a run begins with.
TINY = "a tiny model made on the spot"
DEFAULT = "default"


class Cited(NamedTuple):
    """A value and its source."""

    value: Any
    source: str


Values = Mapping[str, Cited]


def cite(source: str, **values: Any) -> dict[str, Cited]:
    """Values by name, all from one source."""
    return {name: Cited(value, source) for name, value in values.items()}


@dataclasses.dataclass(frozen=True)
class Preset:
    """A run by name.

    Attributes:
      name: For `--preset`.
      title: What it is, and which result of the paper it stands behind.
      initial: The model that it begins with.
      settings: All values, no model directory and no workdir among them.
      sources: Where the values come from, by name; the others are defaults.
    """

    name: str
    title: str
    initial: str
    settings: SftRun | GrpoRun
    sources: Mapping[str, str]

    def table(self) -> list[tuple[str, str, str]]:
        """(name, value, source) of every value, in the order of the settings."""
        return [
            (name, shown(value), self.sources.get(name, DEFAULT))
            for name, value in fields.values(self.settings).items()
        ]


def make(run: type[SftRun] | type[GrpoRun], name: str, title: str, initial: str, *tables: Values) -> Preset:
    """A preset of some tables of values; later tables win."""
    cited = {key: value for table in tables for key, value in table.items()}
    settings = fields.build(run, {key: value.value for key, value in cited.items()})
    sources = immutabledict({key: value.source for key, value in cited.items()})
    return Preset(name, title, initial, settings, sources)


def shown(value: Any) -> str:
    """A value as it is given to a flag: none, true, a,b."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
    return str(value)
