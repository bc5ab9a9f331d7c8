"""Typed access to the fields of a row: a missing key or a wrong type is a named `RecordError`."""

import base64
import binascii
import contextlib
import json
import math
import re
from collections.abc import Container, Mapping
from typing import Any

from vigorl_jax.datasets.refusals import RecordError

_BOX_TEXT = re.compile(r"\s*[\[(]?" + ",".join([r"\s*(-?\d+(?:\.\d+)?)\s*"] * 4) + r"[\])]?\s*")
_MAX_CHARS = 1 << 20


def required(row: Mapping[str, Any], key: str) -> Any:
    """The value of a key. Raises `missing_key` when it is absent or null."""
    if row.get(key) is None:
        raise RecordError(
            "missing_key", f"no {key!r}; the record has {', '.join(map(str, row)) or 'no keys'}."
        )
    return row[key]


def text(row: Mapping[str, Any], key: str) -> str:
    """A string that is not blank. Raises `missing_key`, `wrong_type`, `empty_text` or `text_too_long`."""
    value = required(row, key)
    if not isinstance(value, str):
        raise RecordError("wrong_type", f"{key!r} must be text, got {type(value).__name__}.")
    if not value.strip():
        raise RecordError("empty_text", f"{key!r} is blank.")
    if len(value) > _MAX_CHARS:
        raise RecordError(
            "text_too_long", f"{key!r} has {len(value)} characters, at most {_MAX_CHARS} are read."
        )
    return value


def identifier(row: Mapping[str, Any], key: str) -> str:
    """An id given as text or as a whole number, as text."""
    value = required(row, key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(row, key)


def items(row: Mapping[str, Any], key: str) -> list:
    """A list. Raises `missing_key` or `wrong_type`."""
    value = required(row, key)
    if not isinstance(value, list):
        raise RecordError("wrong_type", f"{key!r} must be a list, got {type(value).__name__}.")
    return value


def texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of strings that are not blank."""
    values = items(row, key)
    return tuple(text({f"{key}[{index}]": value}, f"{key}[{index}]") for index, value in enumerate(values))


def numbers(values: Any, key: str, count: int) -> tuple[float, ...]:
    """Exactly `count` finite numbers. Raises `wrong_type` or `not_finite`."""
    plain = isinstance(values, list) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )
    if not plain or len(values) != count:
        raise RecordError("wrong_type", f"{key!r} must be {count} numbers, got {str(values)[:200]!r}.")
    if not all(math.isfinite(value) for value in values):
        raise RecordError("not_finite", f"{key!r} has an infinite or undefined number: {values}.")
    return tuple(float(value) for value in values)


def box_of_text(value: str) -> tuple[float, ...] | None:
    """The four numbers of `(1, 2, 3, 4)` or `[1, 2, 3, 4]`; None for any other text."""
    match = _BOX_TEXT.fullmatch(value)
    return tuple(float(number) for number in match.groups()) if match else None


def scalars(row: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, str | int | float | bool]:
    """The named fields that are present, for the metadata of an example; lists and mappings as JSON text."""
    found = {}
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int | float | bool):
            found[key] = value
        elif value is not None:
            found[key] = json_text(value)
    return found


def extras(row: Mapping[str, Any], known: Container[str]) -> dict[str, str | int | float | bool]:
    """All other fields, as `scalars`; columns of bytes or dates, which JSON cannot hold, are left out."""
    found = {}
    for key in row:
        if key not in known:
            with contextlib.suppress(RecordError):
                found |= scalars(row, (key,))
    return found


def json_text(value: Any) -> str:
    """One canonical JSON text for a value. Raises `wrong_type` for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError("wrong_type", f"a value cannot be kept as JSON: {error}.") from error


def letter_index(value: str, count: int) -> int:
    """The index that a letter means: `B`, `(B)` and `b` are 1. Raises `answer_not_a_choice` beyond `count`
    choices.
    """
    letter = value.strip().strip("().").upper()
    index = ord(letter) - ord("A") if len(letter) == 1 else -1
    if not 0 <= index < count:
        raise RecordError("answer_not_a_choice", f"{value[:50]!r} names none of the {count} choices.")
    return index


def from_base64(value: str, key: str) -> bytes:
    """The bytes of strict base64 text. Raises `not_base64`."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError("not_base64", f"{key!r}: {error}.") from error
