"""Rows of annotation files, one at a time and in a fixed order: jsonl, JSON lists, parquet, TSV.

Each reader yields (location, row) pairs; a row that cannot be read is a `RecordError` in place of the
mapping, so that its neighbours go on. Memory stays bounded by one row (parquet: one small batch), whatever
the file's size.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.sources import MIB, Limits, Tree

Row = dict[str, Any]
Rows = Iterator[tuple[str, Row | RecordError]]

_PARQUET_BATCH = 8
_PARQUET_HEADER_LIMIT = 256 * MIB


def read_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """Rows of one annotation file, chosen by its ending (.jsonl, .json, .parquet, .tsv)."""
    readers = {"jsonl": jsonl_rows, "json": json_rows, "parquet": parquet_rows, "tsv": tsv_rows}
    ending = name.rsplit(".", 1)[-1].lower()
    if ending not in readers:
        raise SourceError(f"{name}: no reader for '.{ending}' files; wanted one of {', '.join(readers)}.")
    return readers[ending](tree, name, limits)


def jsonl_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """One JSON object a line; blank lines are skipped. Locations are `name:line`, counted from 1."""
    with tree.open(name) as stream:
        number = 0
        while line := stream.readline(limits.max_line_bytes + 1):
            number += 1
            location = f"{name}:{number}"
            if len(line) > limits.max_line_bytes:
                _skip_line(stream)
                yield location, RecordError("line_too_long", f"more than {limits.max_line_bytes} bytes.")
            elif line.strip():
                yield location, _object(line)


def object_row(tree: Tree, name: str) -> Row | RecordError:
    """The JSON object that is the whole of a small file."""
    try:
        return _object(tree.read(name))
    except RecordError as error:
        return error


def _skip_line(stream) -> None:
    while (part := stream.readline(MIB)) and not part.endswith(b"\n"):
        pass


def _object(text: bytes | str) -> Row | RecordError:
    try:
        row = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return RecordError("not_json", f"{error}")
    if not isinstance(row, dict):
        return RecordError("not_an_object", f"a record is a JSON object, got {type(row).__name__}.")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def json_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """The objects of one JSON list, decoded one by one. Locations are `name[index]`, counted from 0.

    Raises:
      SourceError: the file is not a JSON list of objects (what follows a broken element cannot be found
      again).
    """
    with tree.open(name) as stream:
        elements = _Elements(io.TextIOWrapper(stream, encoding="utf-8"), name, limits.max_line_bytes)
        for index, element in enumerate(elements):
            yield f"{name}[{index}]", element


class _Elements:
    """The objects of a JSON list in a text stream; holds one chunk and one element at a time."""

    def __init__(self, stream: io.TextIOBase, name: str, max_chars: int):
        self._stream, self._name, self._max_chars = stream, name, max_chars
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)
        self._text = ""

    def __iter__(self) -> Iterator[Row]:
        if self._next_char() != "[":
            raise self._broken("it does not start with '['")
        self._text = self._text[1:]
        if self._next_char() == "]":
            return
        while True:
            if self._next_char() != "{":
                raise self._broken("an element is not an object")
            yield self._element()
            separator = self._next_char()
            self._text = self._text[1:]
            if separator == "]":
                return
            if separator != ",":
                raise self._broken("elements are not separated by ','")

    def _more(self) -> bool:
        try:
            chunk = self._stream.read(MIB)
        except UnicodeDecodeError as error:
            raise self._broken(f"it is not UTF-8 ({error.reason})") from error
        self._text += chunk
        return bool(chunk)

    def _next_char(self) -> str:
        self._text = self._text.lstrip()
        while not self._text and self._more():
            self._text = self._text.lstrip()
        return self._text[:1]

    def _element(self) -> Row:
        while True:
            try:
                element, end = self._decoder.raw_decode(self._text)
            except RecursionError as error:
                raise self._broken("an element is nested too deeply") from error
            except ValueError as error:
                # Cut off or wrong? Only more text can tell, up to the longest element that is believed.
                if len(self._text) > self._max_chars or not self._more():
                    raise self._broken(str(error)) from error
            else:
                self._text = self._text[end:]
                return element

    def _broken(self, why: str) -> SourceError:
        return SourceError(f"{self._name} is not a JSON list of objects: {why}.")


def parquet_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """Rows of a parquet file as plain Python values. Locations are `name[index]`, counted from 0.

    Raises:
      SourceError: not a parquet file, or one whose row groups expand beyond reason.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with tree.open(name) as stream:
        try:
            # Batches are cut from a stream: a row group of several GB is never held at once.
            table = pq.ParquetFile(
                stream, pre_buffer=False, buffer_size=MIB, thrift_string_size_limit=_PARQUET_HEADER_LIMIT
            )
            _check_row_groups(table.metadata, name, limits)
            index = 0
            for batch in table.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    yield f"{name}[{index}]", row
                    index += 1
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{name} is not a readable parquet file: {error}.") from error


def _check_row_groups(metadata, name: str, limits: Limits) -> None:
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        packed = sum(column.total_compressed_size for column in columns)
        expanded = sum(column.total_uncompressed_size for column in columns)
        if expanded > limits.bomb_bytes and expanded > limits.max_expansion * max(packed, 1):
            raise SourceError(f"{name} is a compression bomb: {packed} bytes expand to {expanded}.")


def tsv_rows(tree: Tree, name: str, limits: Limits) -> Rows:
    """Rows of a tab-separated file with a header line, as text. Locations are `name[index]`, from 0."""
    with tree.open(name) as stream:
        lines = _bounded_lines(io.TextIOWrapper(stream, encoding="utf-8", newline=""), name, limits)
        csv.field_size_limit(limits.max_file_bytes)
        try:
            reader = csv.reader(lines, delimiter="\t")
            header = next(reader, None)
            if header is None:
                raise SourceError(f"{name} is empty: a TSV file starts with a line of column names.")
            for index, values in enumerate(reader):
                location = f"{name}[{index}]"
                if len(values) != len(header):
                    yield (
                        location,
                        RecordError("wrong_columns", f"{len(values)} values for {len(header)} columns."),
                    )
                else:
                    yield location, dict(zip(header, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise SourceError(f"{name} is not a readable TSV file: {error}.") from error


def _bounded_lines(stream: io.TextIOBase, name: str, limits: Limits) -> Iterator[str]:
    # Lines hold base64 images here, so the bound is that of a file.
    while line := stream.readline(limits.max_file_bytes + 1):
        if len(line) > limits.max_file_bytes:
            raise SourceError(f"{name} has a line of more than {limits.max_file_bytes} characters.")
        yield line
