"""Sample -> prepare -> read for every layout, and what a preparation refuses, reports and resumes."""

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import open_split
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.samples import make_sample
from vigorl_jax.reasoning.prompts import user_text

_FORMS = [(row.name, number) for row in CATALOG.values() for number in range(len(row.forms))]
_PARTIAL = {"allow_partial": True, "num_threads": 2}


def _prepare(name, source, data_dir, **settings):
    return prepare(CATALOG[name], [source], data_dir, Settings(**{**_PARTIAL, **settings}))


@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_every_layout_comes_back_as_it_was_written(tmp_path, name, form):
    row = CATALOG[name]
    task = row.task or "spatial"
    written = make_sample(row, tmp_path / "source", 5, seed=1, task=task, form=form)
    report = _prepare(name, tmp_path / "source", tmp_path / "data", task=task, max_dropped_share=0)
    for split, examples in written.items():
        assert list(open_split(name, tmp_path / "data", split)) == examples
        assert report.splits[split].kept == 5
        for example in examples:
            asked = user_text(example)
            assert example.question in asked
            assert all(choice in asked for choice in example.choices)
            assert "<image>" not in asked


def _jsonl(folder, lines, name="data.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return folder


def _records(folder, count):
    """A source of `count` good RL records."""
    make_sample(CATALOG["rl_jsonl"], folder, count, seed=0, task="spatial")
    return [json.loads(line) for line in (folder / "sample.jsonl").read_text().splitlines()]


def test_dropped_records_are_counted_named_and_the_others_kept(tmp_path):
    good = _records(tmp_path / "source", 4)
    bad = [
        b"{no json",
        {**good[0], "id": "missing", "answer": None},
        {**good[0], "id": "typed", "problem": 3},
        {**good[0], "id": "leaves", "images": ["../../etc/passwd"]},
        {**good[0], "id": "url", "images": ["https://host/a.png"]},
        good[1],
    ]
    _jsonl(tmp_path / "source", [*good, *bad], "sample.jsonl")
    report = _prepare(
        "rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", max_dropped_share=0.6
    )
    assert (report.splits["train"].read, report.splits["train"].kept) == (10, 4)
    assert report.splits["train"].dropped == {
        "duplicate_id": 1,
        "image_is_url": 1,
        "missing_key": 1,
        "not_json": 1,
        "path_leaves_root": 1,
        "wrong_type": 1,
    }
    folder = tmp_path / "data" / "rl_jsonl" / "1.0.0"
    dropped = [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]
    assert [(row["location"], row["reason"]) for row in dropped][:2] == [
        ("sample.jsonl:5", "not_json"),
        ("sample.jsonl:6", "missing_key"),
    ]
    assert json.loads((folder / "report.json").read_text())["splits"]["train"]["kept"] == 4
    assert "dropped 1: duplicate_id" in "\n".join(report.lines())


def test_too_large_a_share_of_dropped_records_fails_and_leaves_no_data_set(tmp_path):
    good = _records(tmp_path / "source", 4)
    _jsonl(tmp_path / "source", [*good, b"{"], "sample.jsonl")
    with pytest.raises(SourceError, match=r"1 of 5 records were dropped.*sample\.jsonl:5: not_json"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", max_dropped_share=0.1)
    assert not (tmp_path / "data" / "rl_jsonl" / "1.0.0").exists()
    report = _prepare(
        "rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", max_dropped_share=0.2
    )
    assert report.splits["train"].kept == 4


def test_a_split_of_which_nothing_is_kept_fails(tmp_path):
    _jsonl(tmp_path / "source", [b"{"])
    with pytest.raises(SourceError, match="no record of split 'train' was kept"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", max_dropped_share=1.0)


def test_counts_are_verified_unless_a_part_is_accepted(tmp_path):
    make_sample(CATALOG["vstar"], tmp_path / "source", 5, seed=0)
    with pytest.raises(SourceError, match="'test' has 5 records, published are 191"):
        _prepare("vstar", tmp_path / "source", tmp_path / "data", allow_partial=False)
    report = _prepare("vstar", tmp_path / "source", tmp_path / "data")
    assert report.verified == ()
    assert report.categories == {"direct_attributes": 2, "relative_position": 3}


def test_a_complete_source_is_verified_by_category_too(tmp_path):
    make_sample(CATALOG["vstar"], tmp_path / "source", 191, seed=0)
    path = tmp_path / "source" / "test_questions.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    with pytest.raises(SourceError, match="category 'direct_attributes' has 2 records, published are 115"):
        _prepare("vstar", tmp_path / "source", tmp_path / "wrong", allow_partial=False)
    for number, record in enumerate(records):
        record["category"] = "direct_attributes" if number < 115 else "relative_position"
    _jsonl(tmp_path / "source", records, path.name)
    report = _prepare("vstar", tmp_path / "source", tmp_path / "data", allow_partial=False)
    assert report.verified == ("test", "direct_attributes", "relative_position")


def test_missing_splits_are_named_with_what_to_get(tmp_path):
    make_sample(CATALOG["vigorl_spatial"], tmp_path / "source", 3, seed=0)
    (tmp_path / "source" / "spatial_reasoning" / "vigorl_sat2_val_RL.jsonl").unlink()
    with pytest.raises(
        SourceError, match=r"no files for val .*What to get: Hugging Face gsarch/vigorl_datasets"
    ):
        _prepare("vigorl_spatial", tmp_path / "source", tmp_path / "data", allow_partial=False)
    assert set(_prepare("vigorl_spatial", tmp_path / "source", tmp_path / "data").splits) == {"train"}


@pytest.mark.parametrize("opened", ["archive", "folder of archives", "unpacked domain"])
def test_a_released_domain_is_found_however_it_lies_on_disk(tmp_path, opened):
    written = make_sample(CATALOG["vigorl_web_grounding"], tmp_path / "unpacked", 3, seed=0)
    archive = tmp_path / "hub" / "web_grounding.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, "w") as stream:
        stream.add(tmp_path / "unpacked" / "web_grounding", "web_grounding")
    source = {
        "archive": archive,
        "folder of archives": archive.parent,
        "unpacked domain": tmp_path / "unpacked" / "web_grounding",
    }[opened]
    _prepare("vigorl_web_grounding", source, tmp_path / "data")
    assert list(open_split("vigorl_web_grounding", tmp_path / "data", "val")) == written["val"]


def test_images_in_a_zip_file_beside_the_annotations_are_found(tmp_path):
    written = make_sample(CATALOG["screenspot_v2"], tmp_path / "source", 3, seed=0)["test"]
    images = tmp_path / "source" / "screenspot_imgs"
    with zipfile.ZipFile(tmp_path / "source" / "screenspotv2_image.zip", "w") as archive:
        for path in images.iterdir():
            archive.write(path, f"screenspotv2_image/{path.name}")
    shutil.rmtree(images)
    _prepare("screenspot_v2", tmp_path / "source", tmp_path / "data")
    assert list(open_split("screenspot_v2", tmp_path / "data", "test")) == written


def test_an_annotation_file_that_leads_out_of_the_source_is_refused(tmp_path):
    _jsonl(tmp_path / "outside", [b"{}"])
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.jsonl").symlink_to(tmp_path / "outside" / "data.jsonl")
    with pytest.raises(SourceError, match=r"annotation file 'a\.jsonl' cannot be read: path_leaves_root"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial")


def test_a_hostile_archive_writes_nothing_outside_the_target(tmp_path):
    _records(tmp_path / "source", 2)
    with tarfile.open(tmp_path / "evil.tar", "w") as stream:
        stream.add(tmp_path / "source", ".")
        stream.addfile(tarfile.TarInfo("../escaped.txt"))
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(SourceError, match=r"escaped\.txt"):
        _prepare("rl_jsonl", tmp_path / "evil.tar", tmp_path / "data", task="spatial")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


_KILLED = """
import os, pathlib, sys
from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
def die(split, rows_read):
    if rows_read == 13: os._exit(9)
settings = Settings(task="spatial", shard_rows=5, num_threads=2, progress=die)
prepare(CATALOG["rl_jsonl"], [pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]), settings)
"""


def test_a_killed_run_goes_on_after_its_last_complete_shard(tmp_path):
    written = make_sample(CATALOG["rl_jsonl"], tmp_path / "source", 20, seed=0, task="spatial")["train"]
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "source"), str(tmp_path / "data")]
    assert subprocess.run(command, check=False).returncode == 9
    assert not (tmp_path / "data" / "rl_jsonl" / "1.0.0").exists()
    rows = []
    again = {"task": "spatial", "shard_rows": 5, "progress": lambda split, rows_read: rows.append(rows_read)}
    report = _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", **again)
    assert rows == list(range(11, 21))
    assert (report.splits["train"].read, report.splits["train"].kept) == (20, 20)
    assert list(open_split("rl_jsonl", tmp_path / "data", "train")) == written
    assert sorted(path.name for path in (tmp_path / "data" / "rl_jsonl").iterdir()) == ["1.0.0"]


def test_unfinished_work_is_not_continued_with_another_source(tmp_path):
    _records(tmp_path / "source", 6)

    def stop(split, rows_read):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", progress=stop)
    with pytest.raises(SourceError, match="unfinished work on another source or with other settings"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="visual_search")


def test_two_preparations_of_one_data_set_do_not_mix(tmp_path):
    _records(tmp_path / "source", 6)
    refusals = []

    def start_another(split, rows_read):
        if not refusals:
            with pytest.raises(SourceError, match="in use by another preparation") as refusal:
                _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial")
            refusals.append(refusal)

    report = _prepare(
        "rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial", progress=start_another
    )
    assert (report.splits["train"].kept, len(refusals)) == (6, 1)


def test_a_prepared_data_set_is_not_overwritten(tmp_path):
    _records(tmp_path / "source", 2)
    _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial")
    with pytest.raises(SourceError, match="exists already; delete it"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data", task="spatial")


def test_settings_out_of_range_and_a_missing_task_are_refused(tmp_path):
    with pytest.raises(SourceError, match="share between 0 and 1, got 2"):
        Settings(max_dropped_share=2)
    with pytest.raises(SourceError, match="must be at least 1"):
        Settings(num_threads=0)
    _records(tmp_path / "source", 2)
    with pytest.raises(SourceError, match="rl_jsonl needs --task, one of spatial"):
        _prepare("rl_jsonl", tmp_path / "source", tmp_path / "data")


def test_two_files_for_one_split_are_refused(tmp_path):
    for copy in ("one", "two"):
        make_sample(CATALOG["sat2"], tmp_path / "source" / copy, 2, seed=0)
    with pytest.raises(SourceError, match=r"sat2_test\.jsonl means 2 files"):
        _prepare("sat2", tmp_path / "source", tmp_path / "data")


def test_samples_are_refused_where_they_would_mix_with_other_files(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(SourceError, match="is not empty"):
        make_sample(CATALOG["vstar"], tmp_path, 2, seed=0)
    with pytest.raises(SourceError, match="has layouts 0 to 2, got 3"):
        make_sample(CATALOG["vstar"], tmp_path / "new", 2, seed=0, form=3)
    with pytest.raises(SourceError, match="needs --task"):
        make_sample(CATALOG["rl_jsonl"], tmp_path / "new", 2, seed=0)
