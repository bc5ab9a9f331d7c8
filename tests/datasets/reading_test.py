"""Random access, sharding by host, shuffling, exact resume, threads, and no TensorFlow."""

import itertools
import json
import os
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import Order, open_split, split_names, stream
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.samples import make_sample
from vigorl_jax.processing.decode import decode_image
from vigorl_jax.testing.worker_trip import sent

_COUNT = 23


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The data folder of 23 records in shards of 5, and the examples that were written."""
    folder = tmp_path_factory.mktemp("prepared")
    row = CATALOG["rl_jsonl"]
    written = make_sample(row, folder / "source", _COUNT, seed=0, task="spatial")["train"]
    prepare(row, [folder / "source"], folder / "data", Settings(task="spatial", shard_rows=5))
    return folder / "data", written


def _ids(examples, order):
    return [example.id for example in stream(examples, order)]


def test_any_example_is_read_at_once(prepared):
    data_dir, written = prepared
    examples = open_split("rl_jsonl", data_dir, "train")
    assert len(examples) == _COUNT
    assert [examples[index] for index in (22, 0, 7, -1, np.int64(3))] == [
        written[index] for index in (22, 0, 7, 22, 3)
    ]
    for index in (_COUNT, -_COUNT - 1):
        with pytest.raises(IndexError, match="23 examples"):
            examples[index]


def test_tensorflow_datasets_reads_the_same_records_by_itself(tmp_path):
    import tensorflow_datasets as tfds

    row = CATALOG["vstar"]
    make_sample(row, tmp_path / "source", 3, seed=0, form=1)
    prepare(row, [tmp_path / "source"], tmp_path / "data", Settings(allow_partial=True))
    builder = tfds.builder_from_directory(tmp_path / "data" / "vstar" / "1.0.0")
    assert builder.info.citation == row.citation
    assert builder.info.splits["test"].num_examples == 3
    for record, example in zip(
        builder.as_data_source("test"), open_split("vstar", tmp_path / "data", "test"), strict=True
    ):
        assert (record["id"].decode(), tuple(record["images"])) == (example.id, example.images)
        assert tuple(map(tuple, record["boxes"].tolist())) == example.boxes
        assert [choice.decode() for choice in record["choices"]] == list(example.choices)
        assert json.loads(record["metadata"]) == dict(example.metadata)


def test_slices_of_a_split(prepared):
    data_dir, written = prepared
    assert list(open_split("rl_jsonl", data_dir, "train[3:9]")) == written[3:9]
    assert list(open_split("rl_jsonl", data_dir, "train[20:]")) == written[20:]


def test_examples_travel_to_other_processes(prepared):
    data_dir, written = prepared
    examples = open_split("rl_jsonl", data_dir, "train")
    assert len(ForkingPickler.dumps(examples)) < 1000
    assert sent(examples)[11] == written[11]


def test_what_is_not_there_is_named_with_the_command_that_makes_it(prepared, tmp_path):
    data_dir, _ = prepared
    with pytest.raises(SourceError, match="prepare_data --dataset vstar --source PATH"):
        open_split("vstar", tmp_path, "test")
    with pytest.raises(SourceError, match="no split 'test'; prepared are train"):
        open_split("rl_jsonl", data_dir, "test")
    assert split_names("rl_jsonl", data_dir) == ("train",)


def test_the_stored_order_is_the_order_of_the_source(prepared):
    data_dir, written = prepared
    examples = open_split("rl_jsonl", data_dir, "train")
    assert list(stream(examples, Order())) == written


def test_every_epoch_is_a_new_permutation_and_a_seed_gives_the_same_ones_again(prepared):
    examples = open_split("rl_jsonl", prepared[0], "train")
    ids = _ids(examples, Order(shuffle_seed=1, num_epochs=2))
    first, second = ids[:_COUNT], ids[_COUNT:]
    assert sorted(first) == sorted(second) == sorted(example.id for example in prepared[1])
    assert first != second
    assert ids == _ids(examples, Order(shuffle_seed=1, num_epochs=2, num_threads=1))
    assert first != _ids(examples, Order(shuffle_seed=2))


@pytest.mark.parametrize("hosts", [2, 3, 5])
def test_the_shards_of_hosts_are_disjoint_and_complete_in_every_epoch(prepared, hosts):
    data_dir, written = prepared
    examples = open_split("rl_jsonl", data_dir, "train")
    seen = [_ids(examples, Order(shuffle_seed=1, host=host, hosts=hosts)) for host in range(hosts)]
    assert sorted(itertools.chain(*seen)) == sorted(example.id for example in written)


@pytest.mark.parametrize("position", [0, 1, 22, 23, 30])
def test_a_saved_position_goes_on_with_the_very_next_example(prepared, position):
    order = Order(shuffle_seed=3, num_epochs=2, num_threads=4, read_ahead=16)
    examples = open_split("rl_jsonl", prepared[0], "train")
    whole = _ids(examples, order)
    reading = iter(stream(examples, order))
    for _ in range(position):
        next(reading)
    state = json.loads(json.dumps(reading.get_state()))
    again = iter(stream(open_split("rl_jsonl", prepared[0], "train"), order))
    again.set_state(state)
    assert [example.id for example in again] == whole[position:]


def test_work_is_applied_on_the_reading_threads_in_order(prepared):
    data_dir, written = prepared
    examples = open_split("rl_jsonl", data_dir, "train")
    images = list(
        stream(examples, Order(num_threads=4), apply=lambda example: decode_image(example.images[0]))
    )
    for pixels, example in zip(images, written, strict=True):
        np.testing.assert_array_equal(pixels, decode_image(example.images[0]))


def test_orders_out_of_range_are_refused():
    with pytest.raises(ValueError, match="host must be one of 0 to 1, got 2"):
        Order(host=2, hosts=2)
    with pytest.raises(ValueError, match="num_epochs must be at least 1"):
        Order(num_epochs=0)


_NO_TENSORFLOW = """
import pathlib, sys
from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import Order, open_split, stream
from vigorl_jax.datasets.samples import make_sample
assert not {"tensorflow_datasets", "grain", "pyarrow", "array_record", "jax"} & set(sys.modules)
folder = pathlib.Path(sys.argv[1])
row = CATALOG["rl_parquet"]
written = make_sample(row, folder / "source", 3, seed=0, task="spatial")["train"]
prepare(row, [folder / "source"], folder / "data", Settings(task="spatial"))
examples = open_split("rl_parquet", folder / "data", "train")
assert list(examples) == written
assert "jax" not in sys.modules
assert list(stream(examples, Order())) == written
"""


def test_preparing_and_reading_import_no_tensorflow_and_tables_alone_nothing_heavy(tmp_path):
    # A TensorFlow that can be found and must not be imported.
    (tmp_path / "installed" / "tensorflow").mkdir(parents=True)
    (tmp_path / "installed" / "tensorflow" / "__init__.py").write_text(
        "raise SystemExit('TensorFlow was imported')"
    )
    paths = os.pathsep.join([str(tmp_path / "installed"), os.getcwd()])
    run = subprocess.run(
        [sys.executable, "-c", _NO_TENSORFLOW, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert run.returncode == 0, run.stderr
