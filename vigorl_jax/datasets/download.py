"""Fetching a data set from the Hugging Face hub, only when a user asks for it."""

from collections.abc import Callable
from pathlib import Path

from vigorl_jax.datasets.dataset import Dataset
from vigorl_jax.datasets.refusals import SourceError


def download(dataset: Dataset, folder: Path, fetch: Callable[..., str] | None = None) -> Path:
    """Downloads the files of a data set into `folder`; a second call fetches only what is missing.

    Args:
      dataset: A row of the catalog.
      folder: Where the files go.
      fetch: Does the transfer, with the arguments of `huggingface_hub.snapshot_download` (the default).

    Raises:
      SourceError: the data set is not on the hub, or cannot be reached.
    """
    if not dataset.hub:
        raise SourceError(
            f"{dataset.name} cannot be downloaded by this command. What to get: {dataset.source}."
        )
    if fetch is None:
        from huggingface_hub import snapshot_download as fetch
    try:
        patterns = list(dataset.hub_files)
        fetch(repo_id=dataset.hub, repo_type="dataset", allow_patterns=patterns, local_dir=str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{dataset.hub} could not be downloaded: {reason}") from error
    return folder
