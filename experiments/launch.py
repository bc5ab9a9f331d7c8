"""The manners of every binary: flags only, quiet logs, one clear line and a non-zero status for what is wrong."""

import pathlib
import sys
from collections.abc import Callable

from absl import app, logging


def launch(run: Callable[[], int | None]) -> None:
    """Parses the flags, runs, and exits with the returned status (None: 0).

    A ValueError or OSError is the user's to mend: its message goes to stderr behind the binary's name, without a
    traceback, and the status is 1. Anything else is ours, and keeps its traceback.
    """

    def main(argv: list[str]) -> int | None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments {argv[1:]}; every argument is a --flag")
        logging.set_verbosity(logging.WARNING)
        try:
            return run()
        except (ValueError, OSError) as error:
            sys.stderr.write(f"{pathlib.Path(argv[0]).stem}: {error}\n")
            return 1

    app.run(main)
