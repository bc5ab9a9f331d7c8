"""Flags for every value of a record of settings, made from the record itself; for a run, on top of a preset."""

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any

from absl import flags

from experiments.presets import algorithms, catalog
from experiments.presets.preset import TINY, Preset, shown
from vigorl_jax.runs import fields
from vigorl_jax.runs.fields import Leaf
from vigorl_jax.runs.settings import GrpoRun, SftRun

NONE = "none"
_PRESETS: dict[type, Mapping[str, Preset]] = {SftRun: catalog.SFT, GrpoRun: catalog.GRPO}


def define(run: type[SftRun] | type[GrpoRun], values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines --preset, --list_presets, --show_preset, a flag for every value, and --algorithm for policy gradients.

    A flag that is not given leaves the value of the preset.
    """
    before = set(values)
    flags.DEFINE_string("preset", None, "Name of the run; see --list_presets.", flag_values=values)
    flags.DEFINE_bool("list_presets", False, "Show all presets, and stop.", flag_values=values)
    flags.DEFINE_bool(
        "show_preset",
        False,
        "Show every value with the source that it comes from, and stop.",
        flag_values=values,
    )
    if run is GrpoRun:
        flags.DEFINE_enum(
            "algorithm",
            None,
            tuple(algorithms.ALGORITHMS),
            "Sets the values in which it differs from GRPO as the official code has it; other flags win.",
            flag_values=values,
        )
    _show_in_help(set(values) - before, values)
    define_values(run, values)


def define_values(
    record: type, values: flags.FlagValues = flags.FLAGS, *, left_out: Collection[str] = ()
) -> None:
    """Defines a flag for every value of a record, but for those left out; see `given`."""
    leaves = [leaf for leaf in fields.leaves(record).values() if leaf.name not in left_out]
    for leaf in leaves:
        if leaf.kind is bool:
            flags.DEFINE_bool(leaf.name, None, leaf.doc, flag_values=values)
        else:
            flags.DEFINE(Parser(leaf), leaf.name, None, leaf.doc, flag_values=values)
    _show_in_help([leaf.name for leaf in leaves], values)


def given(record: type, values: flags.FlagValues = flags.FLAGS) -> dict[str, Any]:
    """The values of a record that flags give, by name, as `fields.replace` takes them."""
    flagged = {name: values[name].value for name in fields.leaves(record) if name in values}
    return {
        name: value.value if isinstance(value, Given) else value
        for name, value in flagged.items()
        if value is not None
    }


def overview(run: type[SftRun] | type[GrpoRun], values: flags.FlagValues = flags.FLAGS) -> str | None:
    """What --list_presets or --show_preset asks for, as text; None where neither is given.

    Raises:
      ValueError: what `read` refuses but for a missing model.
    """
    if values.list_presets:
        return "\n".join(_listed(preset) for preset in _PRESETS[run].values())
    if values.show_preset:
        return _table(run, _preset(run, values), _given(run, values))
    return None


def read(run: type[SftRun] | type[GrpoRun], values: flags.FlagValues = flags.FLAGS) -> SftRun | GrpoRun:
    """The settings that the flags ask for.

    Raises:
      ValueError: no preset or an unknown one, values that contradict each other, or no model directory where the preset
        begins with a model that has to be there.
    """
    preset = _preset(run, values)
    settings = fields.replace(preset.settings, _given(run, values))
    if settings.model is None and preset.initial != TINY:
        raise ValueError(
            f"preset {preset.name} begins with {preset.initial}; give its directory with --model"
        )
    return settings


class Parser(flags.ArgumentParser):
    """Reads one value: none, a number, a name, or several with commas between them."""

    def __init__(self, leaf: Leaf):
        """Of this value."""
        super().__init__()
        self._leaf = leaf
        self.syntactic_help = f"{_kind_name(leaf.kind)}{f', or {NONE}' if leaf.is_optional else ''}"

    def parse(self, argument: Any) -> Any:
        """See absl; raises ValueError, which absl shows with the flag's name."""
        if argument == NONE and self._leaf.is_optional:
            return Given(None)
        return Given(_read(argument, self._leaf.kind))

    def flag_type(self) -> str:
        """See absl."""
        return self.syntactic_help


class Given:
    """A value that a flag gave; so that "none" differs from a flag that is not given."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        return shown(self.value)


def _read(text: str, kind: Any) -> Any:
    choices = fields.choices(kind)
    if choices:
        if text not in choices:
            raise ValueError(f"give one of {', '.join(map(str, choices))}")
        return choices[choices.index(text)]
    if kind == tuple[str, ...]:
        return tuple(filter(None, text.split(",")))
    if kind == tuple[float, ...]:
        return tuple(_number(part, float) for part in filter(None, text.split(",")))
    return text if kind is str else _number(text, kind)


def _number(text: str, kind: type) -> float | int:
    try:
        value = kind(text)
    except ValueError:
        raise ValueError("give a whole number" if kind is int else "give a number") from None
    if not math.isfinite(value):
        raise ValueError("give a finite number")
    return value


def _kind_name(kind: Any) -> str:
    choices = fields.choices(kind)
    if choices:
        return " | ".join(map(str, choices))
    names = {int: "whole number", float: "number", str: "text"}
    return names.get(kind, "list with commas")


def _preset(run: type[SftRun] | type[GrpoRun], values: flags.FlagValues) -> Preset:
    if values.preset is None:
        raise ValueError("--preset is missing; --list_presets shows all")
    return catalog.find(_PRESETS[run], values.preset)


def _given(run: type[SftRun] | type[GrpoRun], values: flags.FlagValues) -> dict[str, Any]:
    """The values that flags change, by name."""
    has_algorithm = run is GrpoRun and values.algorithm is not None
    return {**(algorithms.ALGORITHMS[values.algorithm] if has_algorithm else {}), **given(run, values)}


def _show_in_help(names: Collection[str], values: flags.FlagValues) -> None:
    """Makes flags the binary's own, which --help shows."""
    for name in names:
        values.register_key_flag_for_module(sys.argv[0], values[name])


def _listed(preset: Preset) -> str:
    return f"{preset.name}\n    {preset.title}\n    begins with: {preset.initial}"


def _table(run: type[SftRun] | type[GrpoRun], preset: Preset, changes: Mapping[str, Any]) -> str:
    settings = fields.values(fields.replace(preset.settings, changes))
    rows = [
        (name, shown(settings[name]), "flag" if name in changes else source)
        for name, _, source in preset.table()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows]
    return "\n".join([_listed(preset), "", *lines])
