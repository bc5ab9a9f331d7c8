"""The examples of each step: the same for any number of processes and after any stop; bad records have stand-ins."""

import itertools
import json

import pytest

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.samples import make_sample
from vigorl_jax.runs import data
from vigorl_jax.runs.bad_records import BadRecords, BadRecordSettings, TooManyBadRecords
from vigorl_jax.runs.data import ExampleSource, decodable, open_examples, validation_examples
from vigorl_jax.runs.episode_settings import DataSettings, ValidationSettings
from vigorl_jax.tasks.example import Example

_COUNT = 23
GENERATED = DataSettings(datasets=("glyph_search/level_1",), split="train[:40]", shuffle_seed=3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The data folder of 23 records of rl_jsonl."""
    folder = tmp_path_factory.mktemp("prepared")
    row = CATALOG["rl_jsonl"]
    make_sample(row, folder / "source", _COUNT, seed=0, task="spatial")
    prepare(row, [folder / "source"], folder / "data", Settings(task="spatial", shard_rows=5))
    return str(folder / "data")


@pytest.fixture
def open_source():
    """Makes sources, and ends their threads."""
    opened = []

    def make(settings, make_of=decodable, *, bad=None, **more):
        opened.append(
            ExampleSource(settings, bad or BadRecords(BadRecordSettings(), _silent), make_of, **more)
        )
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def _silent(line):
    del line


def _ids(source, *counts):
    return [[example.id for example in source.take(count)] for count in counts]


def test_an_epoch_has_every_example_once_and_the_next_one_another_order(prepared, open_source):
    settings = DataSettings(datasets=("rl_jsonl",), data_dir=prepared)
    first, second = _ids(open_source(settings), _COUNT, _COUNT)
    stored = [example.id for example in open_examples("rl_jsonl", prepared, "train")]
    assert sorted(first) == sorted(second) == sorted(stored)
    assert len({tuple(first), tuple(second), tuple(stored)}) == 3


def test_the_order_depends_on_the_seed_alone(open_source):
    again = _ids(open_source(GENERATED), 8)
    assert _ids(open_source(GENERATED), 8) == again
    other = DataSettings(datasets=GENERATED.datasets, split=GENERATED.split, shuffle_seed=4)
    assert _ids(open_source(other), 8) != again


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_source_goes_on_from_its_position(open_source, steps):
    whole = open_source(GENERATED)
    counts = [6, 6, 12, 6, 6]  # a step may take more than another
    expected = _ids(whole, *counts)
    stopped = open_source(GENERATED)
    _ids(stopped, *counts[:steps])
    position = json.loads(json.dumps(stopped.position))
    resumed = open_source(GENERATED)
    resumed.restore(position)
    assert _ids(resumed, *counts[steps:]) == expected[steps:]
    stopped.restore({"next": 0})
    assert _ids(stopped, *counts) == expected


@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_the_very_examples_that_one_would_take(open_source, num_processes):
    def make(example):
        if example.metadata["index"] % 3 == 0:
            raise ValueError("a multiple of three")
        return example

    def lenient():
        return BadRecords(BadRecordSettings(max_share=0.9), _silent)

    whole = _ids(open_source(GENERATED, make, bad=lenient()), 12, 6, 12)
    shares = [
        _ids(open_source(GENERATED, make, bad=lenient(), process=p, num_processes=num_processes), 12, 6, 12)
        for p in range(num_processes)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == whole


def test_examples_that_do_not_divide_among_processes_are_refused(open_source):
    source = open_source(GENERATED, num_processes=4)
    with pytest.raises(
        ValueError, match="6 examples a step cannot be split over 4 processes; give a multiple of 4"
    ):
        source.take(6)


def test_weights_are_shares_of_the_examples(open_source):
    both = ("glyph_search/level_1", "glyph_search/level_2")
    mixed = DataSettings(datasets=both, weights=(3.0, 1.0), split="train[:40]")
    levels = [example.metadata["level"] for example in open_source(mixed).take(40)]
    assert levels.count("level_1") == 30
    joined = DataSettings(datasets=both, split="train[:10]")
    source = open_source(joined)
    assert len(source) == 20
    levels = [example.metadata["level"] for example in source.take(20)]
    assert levels.count("level_1") == levels.count("level_2") == 10


def test_bad_records_are_counted_named_and_replaced(open_source):
    lines = []
    bad = BadRecords(BadRecordSettings(max_share=0.5), lines.append)
    whole = _ids(open_source(GENERATED), 10)[0]

    def make(example):
        if example.id == whole[4]:
            raise OSError("no such image")
        return example

    taken = _ids(open_source(GENERATED, make, bad=bad), 10)[0]
    assert taken[:4] + taken[5:] == whole[:4] + whole[5:]
    assert taken[4] != whole[4]
    assert (bad.seen, bad.bad) == (11, 1)
    assert lines == [f"record {whole[4]!r} is skipped: no such image"]


def test_a_record_that_cannot_be_read_is_named_by_its_place(open_source, monkeypatch):
    class Broken(list):
        def __getitem__(self, index):
            raise OSError("torn file")

    lines = []
    monkeypatch.setattr(data, "open_examples", lambda *_: Broken(range(5)))
    bad = BadRecords(BadRecordSettings(max_share=0.01, window=100), lines.append)
    with pytest.raises(TooManyBadRecords, match="2 of 2 records cannot be used"):
        open_source(GENERATED, bad=bad).take(1)
    assert lines[0] == "record 'glyph_search/level_1[4]' is skipped: torn file"


def test_a_run_of_bad_records_ends_even_where_any_share_is_allowed(open_source):
    def make(example):
        raise ValueError("never")

    bad = BadRecords(BadRecordSettings(max_share=1.0), _silent)
    with pytest.raises(SourceError, match=r"none of 100 records in a row can be used, .* never"):
        open_source(GENERATED, make, bad=bad).take(1)


def test_an_error_of_the_program_is_not_a_bad_record(open_source):
    def make(example):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        open_source(GENERATED, make).take(1)


def test_an_image_that_cannot_be_decoded_is_a_bad_record():
    example = Example("torn", "spatial", "What?", "this", (b"\x89PNG",))
    with pytest.raises(ValueError, match="image of 'torn'"):
        decodable(example)


def test_generated_splits_share_nothing_and_can_be_cut():
    train = open_examples("glyph_search/level_1", None, "train")
    val = open_examples("glyph_search/level_1", None, "val")
    assert (len(train), len(val)) == (1_000_000, 10_000)
    assert val.start == train.start + len(train)
    part = open_examples("glyph_search/level_1", None, "val[10:14]")
    assert [example.id for example in part] == [val[index].id for index in range(10, 14)]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("glyph_search/level_1", "test", "has no split 'test'; give train or val, or a slice"),
        ("glyph_search/level_1", "train[5:5]", r"has no example in 'train\[5:5\]'; train has 1000000"),
        ("glyph_search/level_9", "train", "Unknown level 'level_9'"),
        ("nothing", "train", "No data set 'nothing'"),
        ("vstar", "test", "data set vstar is read from files: give the data_dir that prepare_data wrote to"),
    ],
)
def test_data_that_are_not_there_are_refused(name, split, message):
    with pytest.raises(ValueError, match=message):
        open_examples(name, None, split)


def test_validation_takes_the_first_usable_examples(prepared):
    bad = BadRecords(BadRecordSettings(), _silent)
    settings = ValidationSettings(datasets=("rl_jsonl", "glyph_search/level_1"), split="train", size=5)
    found = validation_examples(settings, prepared, bad)
    stored = open_examples("rl_jsonl", prepared, "train")
    assert [example.id for example in found["rl_jsonl"]] == [stored[index].id for index in range(5)]
    assert [example.id for example in found["glyph_search/level_1"]][:2] == ["level_1/0/0", "level_1/0/1"]
    assert bad.seen == 10
