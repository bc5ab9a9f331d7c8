"""What the two training binaries share: flags of the machine, and the way from flags to a run."""

import sys
from collections.abc import Callable

from absl import flags

from experiments import settings_flags
from vigorl_jax.runs.compiled import keep_compiled
from vigorl_jax.runs.loop import Outcome
from vigorl_jax.runs.settings import GrpoRun, SftRun
from vigorl_jax.training import distributed
from vigorl_jax.training.distributed import Hosts

_COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "ADDRESS:PORT of process 0; TPU pods and SLURM steps find it by themselves."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", 1, "Processes of the run, with --coordinator.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", 0, "Number of this process, with --coordinator.", lower_bound=0
)
_CACHE = flags.DEFINE_string(
    "compilation_cache", None, "Folder in which compiled programs are kept from one start to the next."
)


def train(record: type[GrpoRun] | type[SftRun], run: Callable[[GrpoRun | SftRun], Outcome]) -> None:
    """Shows presets where that is asked for, and otherwise runs what the flags say."""
    shown = settings_flags.overview(record)
    if shown is not None:
        sys.stdout.write(f"{shown}\n")
        return
    settings = settings_flags.read(record)
    if _CACHE.value:
        keep_compiled(_CACHE.value)
    distributed.initialise(Hosts(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value))
    run(settings)
