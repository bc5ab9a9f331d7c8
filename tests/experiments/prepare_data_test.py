"""The prepare_data command: sample, prepare, read; refusals are one line and a non-zero exit status."""

import subprocess
import sys

import pytest

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.download import download
from vigorl_jax.datasets.reading import open_split
from vigorl_jax.datasets.refusals import SourceError


def _run(*arguments):
    command = [sys.executable, "-m", "experiments.prepare_data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sample_then_prepare_then_read(tmp_path):
    made = _run("--dataset=vigorl_web_action", f"--make_sample={tmp_path / 'source'}", "--sample_size=4")
    assert made.returncode == 0, made.stderr
    assert "train 4, val 4" in made.stdout
    done = _run(
        "--dataset=vigorl_web_action", f"--source={tmp_path / 'source'}", f"--data_dir={tmp_path / 'data'}"
    )
    assert done.returncode == 0, done.stderr
    assert "train: read 4, kept 4, dropped 0" in done.stdout
    assert open_split("vigorl_web_action", tmp_path / "data", "val")[3].answer == "click [3]"


def test_columns_of_own_data_are_named_by_flags(tmp_path):
    made = _run("--dataset=rl_jsonl", f"--make_sample={tmp_path / 'source'}", "--task=spatial")
    assert made.returncode == 0, made.stderr
    file = tmp_path / "source" / "sample.jsonl"
    file.write_text(file.read_text().replace('"problem"', '"q"').replace('"images"', '"pictures"'))
    common = ("--dataset=rl_jsonl", f"--source={file}", f"--data_dir={tmp_path / 'data'}", "--task=spatial")
    refused = _run(*common)
    assert refused.returncode == 1
    assert "missing_key" in refused.stderr
    done = _run(*common, "--question_key=q", "--images_key=pictures")
    assert done.returncode == 1
    assert "unfinished work" in done.stderr
    done = _run(
        *common[:2],
        f"--data_dir={tmp_path / 'other'}",
        common[3],
        "--question_key=q",
        "--images_key=pictures",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--dataset is missing"),
        (("--dataset=nonsense",), "No data set 'nonsense'"),
        (("--dataset=vstar",), "--data_dir is missing"),
        (("--dataset=vstar", "--data_dir=d"), "No source given"),
        (("--dataset=vstar", "--data_dir=d", "--source=/does/not/exist"), "does not exist"),
        (("--dataset=vstar", "--data_dir=d", "--max_dropped_share=3"), "share between 0 and 1"),
        (("vstar",), "unexpected argument 'vstar'"),
    ],
)
def test_wrong_commands_get_one_line_and_no_traceback(arguments, message):
    run = _run(*arguments)
    assert run.returncode == 1
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


def test_the_list_names_every_data_set():
    listed = _run("--list")
    assert listed.returncode == 0
    assert [line for line in listed.stdout.splitlines() if not line.startswith(" ")] == list(CATALOG)


def test_a_download_asks_the_hub_for_the_files_of_the_table_only(tmp_path):
    asked = {}
    download(CATALOG["hrbench_4k"], tmp_path, fetch=lambda **arguments: asked.update(arguments))
    assert asked == {
        "repo_id": "DreamMr/HR-Bench",
        "repo_type": "dataset",
        "allow_patterns": ["hr_bench_4k.parquet"],
        "local_dir": str(tmp_path),
    }


def test_downloads_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(SourceError, match="screenspot_v1 cannot be downloaded by this command"):
        download(CATALOG["screenspot_v1"], tmp_path)

    def offline(**arguments):
        raise OSError("no network\nlong story")

    with pytest.raises(SourceError, match=r"DreamMr/HR-Bench could not be downloaded: no network$"):
        download(CATALOG["hrbench_4k"], tmp_path, fetch=offline)
