"""Rows of jsonl, JSON, parquet and TSV files: bounded memory, broken rows named, the others kept."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vigorl_jax.datasets.refusals import RecordError, SourceError
from vigorl_jax.datasets.rows import read_rows
from vigorl_jax.datasets.sources import Limits, open_source


def _rows(tmp_path, name, data, **limits):
    (tmp_path / name).write_bytes(data)
    bounds = Limits(**limits)
    rows = list(read_rows(open_source([tmp_path], tmp_path, bounds), name, bounds))
    return [(location, row.reason if isinstance(row, RecordError) else row) for location, row in rows]


def test_broken_lines_are_named_and_their_neighbours_kept(tmp_path):
    lines = [
        b'{"a": 1}',
        b"{not json",
        b"",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a": 2}',
    ]
    assert _rows(tmp_path, "x.jsonl", b"\n".join(lines)) == [
        ("x.jsonl:1", {"a": 1}),
        ("x.jsonl:2", "not_json"),
        ("x.jsonl:4", "not_an_object"),
        ("x.jsonl:5", "not_json"),
        ("x.jsonl:6", "not_json"),
        ("x.jsonl:7", "not_json"),
        ("x.jsonl:8", {"a": 2}),
    ]


def test_a_line_of_100_megabytes_is_dropped_without_being_held(tmp_path):
    with (tmp_path / "x.jsonl").open("wb") as stream:
        stream.write(b'{"a": "')
        for _ in range(100):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"a": 2}\n')
    rows = list(read_rows(open_source([tmp_path], tmp_path), "x.jsonl", Limits()))
    assert [location for location, _ in rows] == ["x.jsonl:1", "x.jsonl:2"]
    assert rows[0][1].reason == "line_too_long"
    assert rows[1][1] == {"a": 2}


def test_a_json_list_is_read_element_by_element_across_chunks(tmp_path):
    values = [{"text": "ä" * 700_000, "n": number} for number in range(4)]
    data = json.dumps(values, ensure_ascii=False, indent=1).encode()
    assert _rows(tmp_path, "x.json", data) == [(f"x.json[{n}]", value) for n, value in enumerate(values)]
    assert _rows(tmp_path, "y.json", b" [ ] ") == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1}', "does not start with"),
        (b"", "does not start with"),
        (b"[1, 2]", "not an object"),
        (b'[{"a": 1} {"a": 2}]', "not separated"),
        (b'[{"a": 1}', "not separated"),
        (b'[{"a": 1', "Expecting"),
        (b'[{"a": "\xff"}]', "not UTF-8"),
        (b"[" + b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_json_list_is_refused_with_the_reason(tmp_path, data, why):
    with pytest.raises(SourceError, match=why):
        _rows(tmp_path, "x.json", data)


def test_an_endless_json_element_is_refused(tmp_path):
    with pytest.raises(SourceError, match="not a JSON list of objects"):
        _rows(tmp_path, "x.json", b'[{"a": "' + b"x" * (3 << 20), max_line_bytes=1 << 20)


def test_parquet_rows_come_back_as_plain_values(tmp_path):
    rows = [{"id": n, "image": {"bytes": b"\0" * n, "path": None}, "tags": ["a"] * n} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=7)
    data = (tmp_path / "x.parquet").read_bytes()
    assert _rows(tmp_path, "x.parquet", data) == [(f"x.parquet[{n}]", row) for n, row in enumerate(rows)]


def test_parquet_that_expands_beyond_reason_or_is_none_is_refused(tmp_path):
    table = pa.table({"a": pa.array([b"\0" * 1_000_000] * 8)})
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd", use_dictionary=False)
    data = (tmp_path / "x.parquet").read_bytes()
    with pytest.raises(SourceError, match="compression bomb"):
        _rows(tmp_path, "x.parquet", data, bomb_bytes=1 << 20)
    with pytest.raises(SourceError, match="not a readable parquet file"):
        _rows(tmp_path, "y.parquet", b"PAR1 no PAR1")


def test_tsv_rows_are_named_by_the_header(tmp_path):
    data = b'a\tb\n1\t"two\nlines"\n3\n4\t5\n'
    assert _rows(tmp_path, "x.tsv", data) == [
        ("x.tsv[0]", {"a": "1", "b": "two\nlines"}),
        ("x.tsv[1]", "wrong_columns"),
        ("x.tsv[2]", {"a": "4", "b": "5"}),
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [(b"", "is empty"), (b"a\tb\n" + b"x" * 3000, "more than 2000"), (b"a\n\xff\n", "not a readable TSV")],
)
def test_a_broken_tsv_file_is_refused(tmp_path, data, why):
    with pytest.raises(SourceError, match=why):
        _rows(tmp_path, "x.tsv", data, max_file_bytes=2000)


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no reader for '\.csv'"):
        _rows(tmp_path, "x.csv", b"")
