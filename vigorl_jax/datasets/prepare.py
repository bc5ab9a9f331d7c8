"""From a source on disk to a prepared data set: plan, write, verify, report."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from vigorl_jax.datasets.builder import build, final_folder, staging_folder
from vigorl_jax.datasets.dataset import Dataset
from vigorl_jax.datasets.journal import Journal
from vigorl_jax.datasets.plan import Settings, find_files, make_plan
from vigorl_jax.datasets.refusals import SourceError
from vigorl_jax.datasets.report import Report, make_report, save_dropped
from vigorl_jax.datasets.sources import Tree, open_source


def prepare(dataset: Dataset, sources: Sequence[Path], data_dir: Path, settings: Settings) -> Report:
    """Writes `data_dir/NAME/1.0.0`, which `reading.open_split` and tensorflow-datasets read.

    A run that was stopped goes on where it was: work in progress lies in `data_dir/NAME/.unfinished-1.0.0`
    and the data set's own folder appears only when it is complete and verified.

    Args:
      dataset: A row of the catalog.
      sources: Folders, archives, hub snapshots or data files that together hold the data set.
      data_dir: Root of the prepared data sets.
      settings: The user's choices.

    Returns:
      What was read, kept and dropped; also in `report.json` and `dropped.jsonl` beside the records.

    Raises:
      SourceError: the source cannot be used, or is not the data set that it should be.
    """
    final = final_folder(data_dir, dataset.name)
    if final.exists():
        raise SourceError(f"{final} exists already; delete it to prepare the data set again.")
    staging = staging_folder(data_dir, dataset.name)
    tree = _with_archives(dataset, sources, staging, settings)
    plan = make_plan(dataset, tree, settings)
    staging.mkdir(parents=True, exist_ok=True)
    journal = Journal(staging / "journal.sqlite", plan.fingerprint())
    try:
        folder = build(plan, data_dir, journal)
        report = make_report(plan, journal)
        report.save(folder)
        save_dropped(journal, folder)
    finally:
        journal.close()
    shutil.rmtree(staging)
    return report


def _with_archives(dataset: Dataset, sources: Sequence[Path], staging: Path, settings: Settings) -> Tree:
    """The opened source, with the archives of the data set that lie in its folders as downloaded."""
    scratch = staging / "unpacked"
    tree = open_source(sources, scratch, settings.limits)
    if any(find_files(tree, pattern) for form in dataset.forms for pattern in form.files.values()):
        return _beside_images(sources, scratch, settings, tree)
    folders = [Path(path) for path in sources if Path(path).is_dir()]
    wanted = {archive for form in dataset.forms for archive in form.archives}
    archives = sorted(path for folder in folders for path in folder.rglob("*") if path.name in wanted)
    return open_source([*sources, *archives], scratch, settings.limits) if archives else tree


def _beside_images(sources: Sequence[Path], scratch: Path, settings: Settings, tree: Tree) -> Tree:
    """The source together with the zip files beside its annotations: some hubs keep images in one."""
    zips = sorted(
        path for folder in map(Path, sources) if folder.is_dir() for path in folder.glob("*image*.zip")
    )
    return open_source([*sources, *zips], scratch, settings.limits) if zips else tree
