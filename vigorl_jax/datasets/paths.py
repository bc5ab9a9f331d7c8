"""Names of files inside a source: which ones are safe, and which ones a pattern means."""

import fnmatch
import posixpath
import re

from vigorl_jax.datasets.refusals import RecordError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(data|file|[A-Za-z]):")
_LONGEST_NAME = 4096


def safe_name(name: str) -> str:
    """The normalised relative path: `./a//b.png` becomes `a/b.png`.

    Raises:
      RecordError: `image_is_url` for an address (`https://`, `data:`, a drive letter); `path_leaves_root`
        for an absolute path, a `..` step, a backslash, a NUL, an empty or an over-long name.
    """
    shown = name if len(name) <= 200 else name[:200] + "..."
    if _SCHEME.match(name):
        raise RecordError("image_is_url", f"{shown!r} is an address; only files inside the source are read.")
    bad = (
        not name.strip() or len(name) > _LONGEST_NAME or "\0" in name or "\\" in name or name.startswith("/")
    )
    if bad or ".." in name.split("/"):
        raise RecordError("path_leaves_root", f"{shown!r} is not a path inside the source.")
    normal = posixpath.normpath(name)
    if normal == ".":
        raise RecordError("path_leaves_root", f"{shown!r} names the source itself, not a file in it.")
    return normal


def matches(name: str, pattern: str) -> bool:
    """Whether the last steps of `name` match `pattern`, step by step.

    `data/blink/val-0.parquet` matches `*/val-*.parquet` and `val-*.parquet`, but not `data/val-*.parquet`.
    """
    steps, wanted = name.split("/"), pattern.split("/")
    tail = steps[-len(wanted) :]
    return len(tail) == len(wanted) and all(map(fnmatch.fnmatchcase, tail, wanted))


def parents(name: str) -> list[str]:
    """The folders above a file, outermost first: `a/b/c.json` gives `['', 'a', 'a/b']`."""
    steps = name.split("/")[:-1]
    return ["/".join(steps[:depth]) for depth in range(len(steps) + 1)]
