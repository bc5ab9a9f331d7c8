"""The tensorflow-datasets builder of the catalog: features, licence, citation, splits, resumable shards.

TensorFlow is never imported: records are array_record files, images stay the encoded bytes that they came as.
"""

import contextlib
import functools
import io
import os
import shutil
from pathlib import Path

from vigorl_jax.datasets.dataset import Dataset
from vigorl_jax.datasets.journal import Journal
from vigorl_jax.datasets.plan import Plan
from vigorl_jax.datasets.report import check_complete
from vigorl_jax.datasets.writing import shard_path, write_split

VERSION = "1.0.0"
FILE_FORMAT = "array_record"


def features():
    """The tensorflow-datasets features of a record, the same for all data sets.

    Boxes are float64 kept as bytes, because records have no other exact form for them; metadata is JSON text.
    """
    import numpy as np
    import tensorflow_datasets as tfds

    text = tfds.features.Text()
    return tfds.features.FeaturesDict(
        {
            "id": text,
            "task": text,
            "question": text,
            "answer": text,
            "images": tfds.features.Sequence(tfds.features.Text(doc="Encoded image file.")),
            "choices": tfds.features.Sequence(text),
            "boxes": tfds.features.Tensor(
                shape=(None, 4),
                dtype=np.float64,
                encoding="bytes",
                doc="Half-open corners in original pixels.",
            ),
            "metadata": text,
        }
    )


@functools.cache
def _builder_class():
    """The builder class; made on first use, because importing tensorflow-datasets takes time."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

    class LocalInfo(tfds.core.DatasetInfo):
        """Information that is never looked up on a network."""

        def initialize_from_bucket(self) -> None:
            """Does nothing: these data sets are in no public bucket."""

    class RecordsBuilder(FileReaderBuilder, skip_registration=True):
        """Writes one data set of the catalog from an opened source."""

        VERSION = tfds.core.Version(VERSION)

        def __init__(self, dataset: Dataset, data_dir: Path, plan: Plan, journal: Journal):
            self.name = dataset.name
            self._dataset, self._plan, self._journal = dataset, plan, journal
            super().__init__(data_dir=data_dir, file_format=FILE_FORMAT)

        def _info(self):
            row = self._dataset
            return LocalInfo(
                builder=self,
                description=f"{row.title}. Source: {row.source}. Licence: {row.licence}.",
                features=features(),
                license=row.licence,
                citation=row.citation,
                homepage=f"https://huggingface.co/datasets/{row.hub}" if row.hub else "",
                disable_shuffling=True,
            )

        def _download_and_prepare(self, dl_manager, download_config=None) -> None:
            serialize = self.info.features.serialize_example
            staging = staging_folder(Path(self.data_dir_root), self.name)
            for split in self._plan.files:
                write_split(self._plan, split, self._journal, staging, serialize)
            check_complete(self._plan, self._journal)
            self.info.set_splits(
                tfds.core.SplitDict([self._collect(split, staging) for split in self._plan.files])
            )

        def _collect(self, split: str, staging: Path):
            """Gives the shards of a split their final names in the data set's folder."""
            shards = [shard for shard in self._journal.shards(split) if shard.records]
            template = self._get_filename_template(split)
            for place, shard in enumerate(shards):
                final = template.sharded_filepath(shard_index=place, num_shards=len(shards))
                _link_or_copy(shard_path(staging, split, shard.number), Path(final))
            return tfds.core.SplitInfo(
                name=split,
                shard_lengths=[shard.records for shard in shards],
                num_bytes=sum(shard.bytes for shard in shards),
                filename_template=template,
            )

    return RecordsBuilder


def _link_or_copy(source: Path, target: Path) -> None:
    """Gives a finished shard a second name; file systems without links get a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def staging_folder(data_dir: Path, name: str) -> Path:
    """Where unfinished work of a data set lies, from one run to the next."""
    return data_dir / name / f".unfinished-{VERSION}"


def final_folder(data_dir: Path, name: str) -> Path:
    """Where a prepared data set lies."""
    return data_dir / name / VERSION


def build(plan: Plan, data_dir: Path, journal: Journal) -> Path:
    """Writes (or goes on writing) a data set; its folder, returned, appears only when all is complete."""
    import tensorflow_datasets as tfds

    for left in (data_dir / plan.dataset.name).glob(f"incomplete.*_{VERSION}"):
        shutil.rmtree(left)  # Of a run that was killed while the shards got their final names.
    builder = _builder_class()(plan.dataset, data_dir, plan, journal)
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    scratch = staging_folder(data_dir, plan.dataset.name) / "downloads"
    # tensorflow-datasets prints to stdout, where our own report goes.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare(download_dir=scratch, download_config=settings)
    shutil.rmtree(scratch, ignore_errors=True)
    return Path(builder.data_dir)
