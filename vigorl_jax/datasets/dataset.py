"""What the table of data sets says about each of them."""

import dataclasses
from collections.abc import Mapping

from immutabledict import immutabledict

from vigorl_jax.datasets.layouts.layout import Keys, Layout


@dataclasses.dataclass(frozen=True)
class Form:
    """One way in which a data set is handed out.

    Attributes:
      layout: How its rows are read and written.
      files: Split -> pattern of annotation files (`paths.matches`; alternatives divided by `|`).
      archives: Archives that hold those files, when the source is the folder into which they were downloaded.
      box: Box convention, a key of `boxes.CONVENTIONS`.
      has_categories: Whether its records name their category, so that categories can be counted.
      keys: Names of free columns.
    """

    layout: Layout
    files: Mapping[str, str]
    archives: tuple[str, ...] = ()
    box: str = "xyxy_pixels"
    has_categories: bool = True
    keys: Keys = dataclasses.field(default_factory=Keys)


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One row of the table.

    Attributes:
      name: Name for commands and folders.
      task: Task of its examples; "" when the user says it.
      title: What it is, in one line.
      source: Where to get it and which files.
      size: Download size, in words.
      licence: Terms as stated by the source.
      citation: Who made it.
      forms: Accepted layouts; the one whose files are found is taken.
      counts: Split -> number of records of the complete split, where it is known.
      categories: Category -> number of records over all splits, where it is known.
      hub: Hugging Face data set for `--download`; "" when it is not there.
      hub_files: Patterns of the files to download from it.
      sample: Kind of records that `samples.make_sample` writes.
    """

    name: str
    task: str
    title: str
    source: str
    size: str
    licence: str
    citation: str
    forms: tuple[Form, ...]
    counts: Mapping[str, int] = immutabledict()
    categories: Mapping[str, int] = immutabledict()
    hub: str = ""
    hub_files: tuple[str, ...] = ()
    sample: str = "choice"

    @property
    def splits(self) -> tuple[str, ...]:
        """Every split that some form has."""
        return tuple(dict.fromkeys(split for form in self.forms for split in form.files))
