"""Prepares a data set: from a folder, an archive, a data file or a hub snapshot to tensorflow-datasets files.

    python -m experiments.prepare_data --list
    python -m experiments.prepare_data --dataset vstar --source ~/vstar_bench --data_dir ~/data
    python -m experiments.prepare_data --dataset vstar --make_sample /tmp/vstar_sample

A stopped run goes on where it was when the same command is given again.
"""

import sys
from pathlib import Path

from absl import flags
from tqdm import tqdm

from experiments.launch import launch
from vigorl_jax.datasets.catalog import find, table_lines
from vigorl_jax.datasets.download import download
from vigorl_jax.datasets.layouts.layout import Keys
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.samples import make_sample
from vigorl_jax.datasets.sources import Limits

_DEFAULTS = Settings()

_LIST = flags.DEFINE_bool("list", False, "Show every data set, what to download from where, its size.")
_DATASET = flags.DEFINE_string("dataset", None, "Name of the data set; see --list.")
_SOURCE = flags.DEFINE_multi_string("source", [], "Folder, archive, data file or hub snapshot; repeatable.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Root of the prepared data sets.")
_TASK = flags.DEFINE_string("task", "", "Task of the examples, for layouts of your own data.")
_QUESTION_KEY = flags.DEFINE_string("question_key", None, "Column of the question in RL records (problem).")
_ANSWER_KEY = flags.DEFINE_string("answer_key", None, "Column of the answer in RL records (answer).")
_IMAGES_KEY = flags.DEFINE_string("images_key", None, "Column of the images in RL records (images).")
_DROPPED = flags.DEFINE_float("max_dropped_share", _DEFAULTS.max_dropped_share, "Fail when more is dropped.")
_PARTIAL = flags.DEFINE_bool("allow_partial", False, "Accept a source with splits or records missing.")
_NUM_THREADS = flags.DEFINE_integer("num_threads", _DEFAULTS.num_threads, "Threads that read and check.")
_MAX_MEMBERS = flags.DEFINE_integer("max_members", _DEFAULTS.limits.max_members, "Most members an archive.")
_DOWNLOAD = flags.DEFINE_string("download", None, "Download from the hub into this folder, and use it.")
_MAKE_SAMPLE = flags.DEFINE_string("make_sample", None, "Write a small valid source here, and stop.")
_SAMPLE_SIZE = flags.DEFINE_integer("sample_size", 8, "Records a split for --make_sample.", lower_bound=1)
_SAMPLE_FORM = flags.DEFINE_integer("sample_form", 0, "Which of the layouts --make_sample writes.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed for --make_sample.")


def _settings() -> Settings:
    given = {"question": _QUESTION_KEY.value, "answer": _ANSWER_KEY.value, "images": _IMAGES_KEY.value}
    named = {name: value for name, value in given.items() if value}
    base = find(_DATASET.value).forms[0].keys
    return Settings(
        task=_TASK.value,
        keys=Keys(**{**vars(base), **named}) if named else None,
        max_dropped_share=_DROPPED.value,
        allow_partial=_PARTIAL.value,
        num_threads=_NUM_THREADS.value,
        limits=Limits(max_members=_MAX_MEMBERS.value),
        progress=_progress(),
    )


def _progress():
    """A bar on a terminal, a plain line every 1,000 rows otherwise."""
    if not sys.stderr.isatty():
        return _print_progress
    bar = tqdm(unit=" rows", file=sys.stderr)

    def show(split: str, rows_read: int) -> None:
        bar.set_description(split, refresh=False)
        bar.update(rows_read - bar.n)

    return show


def _print_progress(split: str, rows_read: int) -> None:
    if rows_read % 1000 == 0:
        print(f"{split}: {rows_read} rows read", file=sys.stderr, flush=True)


def main() -> None:
    """Runs one command: the list, a sample, or the preparation."""
    if _LIST.value:
        print("\n".join(table_lines()))
        return
    if not _DATASET.value:
        raise SourceError("--dataset is missing; --list shows the names.")
    row = find(_DATASET.value)
    if _MAKE_SAMPLE.value:
        folder = Path(_MAKE_SAMPLE.value).expanduser()
        written = make_sample(row, folder, _SAMPLE_SIZE.value, _SEED.value, _TASK.value, _SAMPLE_FORM.value)
        print(f"{folder}: " + ", ".join(f"{split} {len(found)}" for split, found in written.items()))
        return
    if not _DATA_DIR.value:
        raise SourceError("--data_dir is missing: name the folder for prepared data sets.")
    sources = [Path(source).expanduser() for source in _SOURCE.value]
    if _DOWNLOAD.value:
        sources.append(download(row, Path(_DOWNLOAD.value).expanduser()))
    print("\n".join(prepare(row, sources, Path(_DATA_DIR.value).expanduser(), _settings()).lines()))


if __name__ == "__main__":
    launch(main)
