"""Settings as a flat table: each value in nested frozen dataclasses by one name, with its type and its meaning.

A value's name is that of its field behind the prefixes of the records around it. Names are unique in a whole record, so
that flags, presets and files need no paths. The metadata of a field that holds a record may say:
  prefix: what stands before the names in it.
  names: other names for some of its fields.
  derived: fields of it that the run works out; they have no name and keep their defaults.
"""

import dataclasses
import enum
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")

_ENTRY = re.compile(r"  (\w+(?:, \w+)*): (.*)")


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One value of a record.

    Attributes:
      name: Unique in the outermost record.
      path: Names of the fields that lead to it.
      type: Its annotation: a type, an enum, a Literal, one of these or None, or tuple[type, ...].
      doc: What its record's docstring says of it.
    """

    name: str
    path: tuple[str, ...]
    type: Any
    doc: str

    @property
    def kind(self) -> Any:
        """The type without None."""
        return _parts(self.type)[0]

    @property
    def is_optional(self) -> bool:
        """Whether the value may be None."""
        return _parts(self.type)[1]


def number(default: Any = dataclasses.MISSING, **limits: float) -> Any:
    """A field whose number has bounds: `least` and `most` may be reached, `above` and `below` not."""
    return dataclasses.field(default=default, metadata={"limits": limits})


def leaves(record: type) -> dict[str, Leaf]:
    """The values of a record by name, in the order in which they are declared.

    Raises:
      ValueError: two values would have one name, or a docstring leaves a field out.
    """
    return dict(_leaves(record))


@functools.cache
def _leaves(record: type) -> Mapping[str, Leaf]:
    found: dict[str, Leaf] = {}
    for leaf in _walk(record, "", ()):
        if leaf.name in found:
            raise ValueError(
                f"{record.__name__} has two values named {leaf.name}: {'.'.join(found[leaf.name].path)} and "
                f"{'.'.join(leaf.path)}; give one of the records around them a prefix"
            )
        found[leaf.name] = leaf
    return types.MappingProxyType(found)


def _walk(record: type, prefix: str, path: tuple[str, ...]) -> Iterator[Leaf]:
    hints, docs = typing.get_type_hints(record), _docs(record)
    for field in dataclasses.fields(record):
        kind, place = hints[field.name], (*path, field.name)
        if dataclasses.is_dataclass(kind):
            yield from _walk_inside(field, kind, prefix + field.metadata.get("prefix", ""), place)
        elif field.name in docs:
            yield Leaf(prefix + field.name, place, kind, docs[field.name])
        else:
            raise ValueError(f"the docstring of {record.__name__} does not say what {field.name} is")


def _walk_inside(field: dataclasses.Field, kind: type, prefix: str, path: tuple[str, ...]) -> Iterator[Leaf]:
    names, derived = field.metadata.get("names", {}), field.metadata.get("derived", ())
    for leaf in _walk(kind, prefix, path):
        if leaf.path[-1] not in derived:
            yield dataclasses.replace(leaf, name=names.get(leaf.path[-1], leaf.name))


def values(settings: Any) -> dict[str, Any]:
    """The values of a record by name; JSON values but for enums, which are strings too."""
    return {
        name: functools.reduce(getattr, leaf.path, settings) for name, leaf in leaves(type(settings)).items()
    }


def replace(settings: Record, changes: Mapping[str, Any]) -> Record:
    """The record with some values changed; its records are made once, so that they are checked with all changes.

    Raises:
      ValueError: an unknown name, or what the records refuse.
    """
    return _made(type(settings), changes, settings)


def build(record: type[Record], given: Mapping[str, Any]) -> Record:
    """A record from values by name; all others are defaults.

    Raises:
      ValueError: an unknown name, a value without a default that is not given, or what the records refuse.
    """
    return _made(record, given, None)


def _made(record: type[Record], given: Mapping[str, Any], base: Record | None) -> Record:
    unknown = sorted(set(given) - set(leaves(record)))
    if unknown:
        raise ValueError(f"{record.__name__} has no value named {', '.join(unknown)}")
    names = {leaf.path: name for name, leaf in leaves(record).items()}
    return _make(record, given, base, names, ())


def _make(
    record: type,
    given: Mapping[str, Any],
    base: Any,
    names: Mapping[tuple[str, ...], str],
    path: tuple[str, ...],
) -> Any:
    hints, chosen = typing.get_type_hints(record), {}
    for field in dataclasses.fields(record):
        place = (*path, field.name)
        before = _default(field) if base is None else getattr(base, field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            inner = None if before is dataclasses.MISSING else before
            chosen[field.name] = _make(hints[field.name], given, inner, names, place)
            continue
        value = given.get(names.get(place), before)
        if value is dataclasses.MISSING:
            raise ValueError(f"{names[place]} has no default; give it")
        chosen[field.name] = _as_enum(value, hints[field.name])
    return record(**chosen)


def _as_enum(value: Any, annotation: Any) -> Any:
    kind = _parts(annotation)[0]
    is_name = isinstance(value, str) and isinstance(kind, type) and issubclass(kind, enum.Enum)
    return kind(value) if is_name else value


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def check(record: Any) -> None:
    """Refuses values that are not of the annotated type, not among the choices, or out of bounds; for `__post_init__`.

    Raises:
      ValueError: names the field, what was given and what was wanted.
    """
    hints = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        if dataclasses.is_dataclass(hints[field.name]):
            continue
        value, (kind, is_optional) = getattr(record, field.name), _parts(hints[field.name])
        if value is None and is_optional:
            continue
        wanted = _wanted(value, kind, field.metadata.get("limits", {}))
        if wanted:
            none = ", or none" if is_optional else ""
            raise ValueError(f"{field.name} is {_shown(value)}; give {wanted}{none}")


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _wanted(value: Any, kind: Any, limits: Mapping[str, float]) -> str | None:
    """What should have been given; None where the value is fine."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        (item, _) = typing.get_args(kind)
        fits = isinstance(value, tuple) and all(_wanted(each, item, limits) is None for each in value)
        return None if fits else f"a tuple; of each: {_described(item, limits)}"
    if origin is typing.Literal:
        fits = isinstance(value, str) and value in typing.get_args(kind)
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    else:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if fits and limits and isinstance(value, int | float):
        fits = _is_within(value, **limits)
    return None if fits else _described(kind, limits)


def _is_within(
    value: float,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> bool:
    return least <= value <= most and above < value < below


def _described(kind: Any, limits: Mapping[str, float]) -> str:
    if typing.get_origin(kind) is typing.Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return f"one of {', '.join(map(str, choices(kind)))}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[kind]
    spelt = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
    bounds = " and ".join(f"{spelt[name]} {bound:g}" for name, bound in limits.items())
    return f"{words}, {bounds}" if bounds else words


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of an enum or a Literal; none for other types."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return tuple(kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else ()


def _parts(annotation: Any) -> tuple[Any, bool]:
    """An annotation without None, and whether None was part of it."""
    if typing.get_origin(annotation) not in (types.UnionType, typing.Union):
        return annotation, False
    rest = [part for part in typing.get_args(annotation) if part is not type(None)]
    return rest[0], len(rest) < len(typing.get_args(annotation))


def _docs(record: type) -> dict[str, str]:
    """What the "Attributes:" of the docstrings of a record and its parents say, field by field."""
    found: dict[str, str] = {}
    for cls in reversed(record.__mro__):
        section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:")[2]
        named: list[str] = []
        for line in section.splitlines():
            entry = _ENTRY.fullmatch(line)
            if entry:
                named = entry[1].split(", ")
                found |= dict.fromkeys(named, entry[2].strip())
            elif line.startswith(" " * 4):
                found |= {name: f"{found[name]} {line.strip()}" for name in named}
            elif line.strip():
                named = []
    return found
