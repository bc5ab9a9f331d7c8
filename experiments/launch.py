"""The manners of every binary: flags only, quiet logs, one clear line and a non-zero status for what is wrong."""

import pathlib
import signal
import sys
from collections.abc import Callable

from absl import app, logging

from vigorl_jax.host_memory import keep_freed_memory


def launch(run: Callable[[], int | None]) -> None:
    """Parses the flags, runs, and exits with the returned status (None: 0).

    A ValueError or OSError is the user's to mend: its message goes to stderr behind the binary's name, without a
    traceback, and the status is 1; after an interrupt it is 130. Anything else is ours, and keeps its traceback.
    """

    def main(argv: list[str]) -> int | None:
        name = pathlib.Path(argv[0]).stem
        if len(argv) > 1:
            return _fail(name, f"unexpected argument {argv[1]!r}; every choice is a --flag, see --help")
        logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        try:
            return run()
        except (ValueError, OSError) as error:
            return _fail(name, str(error))
        except KeyboardInterrupt as interrupt:
            return _fail(name, f"interrupted {interrupt}".strip(), 128 + signal.SIGINT)

    app.run(main)


def _fail(name: str, message: str, status: int = 1) -> int:
    sys.stderr.write(f"{name}: {message}\n")
    return status
