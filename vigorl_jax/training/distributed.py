"""Many hosts as one machine: how they find each other, the mesh from a flag, what each of them rolls out.

Which array is cut along which axis is `qwen25vl.sharding`'s.
"""

import dataclasses
import glob
import importlib.util
import math
import os
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from vigorl_jax.qwen25vl import sharding

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class DistributedError(ValueError):
    """Hosts, a mesh or a batch that do not fit each other."""


@dataclasses.dataclass(frozen=True)
class Hosts:
    """How the processes of one run find each other, where they cannot find out themselves.

    Attributes:
      coordinator: "address:port" of process 0; "" where the hosts find each other (TPU pods, SLURM) or where there
        is one process only.
      num_processes: how many processes there are.
      process_id: the number of this one, from 0.
    """

    coordinator: str = ""
    num_processes: int = 1
    process_id: int = 0


def initialise(hosts: Hosts = Hosts()) -> None:
    """Joins the processes of a run; a lone process starts nothing. Call it once, before the first array is made.

    Raises:
      DistributedError: flags that contradict each other.
    """
    if hosts.coordinator:
        _check(hosts)
        jax.distributed.initialize(hosts.coordinator, hosts.num_processes, hosts.process_id)
    elif hosts != Hosts():
        raise DistributedError(
            f"process {hosts.process_id} of {hosts.num_processes} has no coordinator; "
            "give coordinator=ADDRESS:PORT of process 0 as well, or none of the three"
        )
    elif is_pod(os.environ):
        jax.distributed.initialize()


def is_pod(environment: Mapping[str, str]) -> bool:
    """Whether JAX can find the other hosts by itself: a SLURM step of several tasks, or a TPU host.

    A TPU host may stand alone; JAX finds that out too.
    """
    slurm = all(name in environment for name in _SLURM) and int(environment["SLURM_NTASKS"]) > 1
    chips = glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")
    return slurm or bool(chips and importlib.util.find_spec("libtpu"))


def parse_mesh(text: str, num_devices: int) -> dict[str, int]:
    """The size of every mesh axis from "data=2,fsdp=4,tensor=1"; an axis that is not named has size 1.

    One axis may be -1: whatever is left. With 8 devices "fsdp=-1,tensor=2" is data 1, fsdp 4, tensor 2.

    Raises:
      DistributedError: an unknown or repeated axis, a size that is no number, or sizes that do not fit.
    """
    sizes: dict[str, int] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, _, size = part.partition("=")
        if name not in sharding.MESH_AXES or name in sizes or not _is_size(size):
            raise DistributedError(
                f"mesh {text!r}: {part!r} is not understood; wanted each of {', '.join(sharding.MESH_AXES)} at most "
                "once, with a size of at least 1 or -1 (what is left), such as data=1,fsdp=-1,tensor=2"
            )
        sizes[name] = int(size)
    sizes = {name: sizes.get(name, 1) for name in sharding.MESH_AXES}
    return _fill(text, sizes, num_devices)


def make_mesh(text: str) -> Mesh:
    """The mesh over all devices of all processes that `parse_mesh` describes.

    Raises:
      DistributedError: what `parse_mesh` refuses.
    """
    return sharding.make_mesh(**parse_mesh(text, jax.device_count()))


def check_rows(rows: int, mesh: Mesh, what: str = "a batch") -> None:
    """Refuses a number of rows that the data and fsdp axes of the mesh do not divide.

    Raises:
      DistributedError: names the rows, the axes and the nearest numbers that would do.
    """
    ways = math.prod(mesh.shape.get(axis, 1) for axis in ("data", "fsdp"))
    if rows % ways:
        upper = -(-rows // ways) * ways
        near = f"{upper - ways} or {upper}" if upper > ways else f"{upper}"
        raise DistributedError(
            f"{what} of {rows} rows cannot be split over a mesh of data {mesh.shape.get('data', 1)} x "
            f"fsdp {mesh.shape.get('fsdp', 1)}; wanted a multiple of {ways}, such as {near}"
        )


def process_slice(num_examples: int, process: int | None = None, num_processes: int | None = None) -> slice:
    """Which of the examples of a global batch this process rolls out: a contiguous, equal share.

    Of 8 examples, process 1 of 4 takes [2, 4). The order of the global batch is that of the processes, so results do
    not depend on their number.

    Raises:
      DistributedError: the examples do not divide among the processes.
    """
    number = jax.process_index() if process is None else process
    count = jax.process_count() if num_processes is None else num_processes
    if num_examples % count:
        raise DistributedError(
            f"{num_examples} examples a step cannot be split over {count} processes; wanted a multiple of {count}"
        )
    share = num_examples // count
    return slice(number * share, (number + 1) * share)


def is_main() -> bool:
    """Whether this process writes logs and reports: process 0."""
    return jax.process_index() == 0


def all_gather_bytes(blob: bytes) -> list[bytes]:
    """The bytes of every process, in the order of the processes; every process must call it."""
    if jax.process_count() == 1:
        return [blob]
    from jax.experimental import multihost_utils

    lengths = multihost_utils.process_allgather(np.array(len(blob), np.int32)).reshape(-1)
    padded = np.zeros(max(1, int(lengths.max())), np.uint8)
    padded[: len(blob)] = np.frombuffer(blob, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [row[:length].tobytes() for row, length in zip(rows, lengths, strict=True)]


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; every process must call it."""
    return b"\1" in all_gather_bytes(b"\1" if flag else b"\0")


def _check(hosts: Hosts) -> None:
    if ":" not in hosts.coordinator or not 0 <= hosts.process_id < hosts.num_processes:
        raise DistributedError(
            f"coordinator {hosts.coordinator!r}, process {hosts.process_id} of {hosts.num_processes}; "
            "wanted ADDRESS:PORT of process 0, and 0 <= process_id < num_processes"
        )


def _is_size(text: str) -> bool:
    return text == "-1" or (text.isdecimal() and int(text) >= 1)


def _fill(text: str, sizes: dict[str, int], num_devices: int) -> dict[str, int]:
    free = [name for name, size in sizes.items() if size == -1]
    product = math.prod(size for size in sizes.values() if size != -1)
    if len(free) > 1 or num_devices % product or (not free and product != num_devices):
        rest = "at most one axis may be -1" if len(free) > 1 else f"the sizes make {product}"
        raise DistributedError(
            f"mesh {text!r} does not fit {num_devices} devices: {rest}; "
            "wanted sizes whose product is the number of devices, or one of them -1"
        )
    return {name: num_devices // product if size == -1 else size for name, size in sizes.items()}
