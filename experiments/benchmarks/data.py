"""How fast prepared examples are read against decoding alone, and whether memory stays flat."""

import dataclasses
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from vigorl_jax.datasets.catalog import CATALOG
from vigorl_jax.datasets.plan import Settings
from vigorl_jax.datasets.prepare import prepare
from vigorl_jax.datasets.reading import Examples, Order, open_split, stream
from vigorl_jax.host_memory import keep_freed_memory
from vigorl_jax.processing.decode import decode_image

_DATASET = CATALOG["rl_jsonl"]


@dataclasses.dataclass(frozen=True)
class DataBenchmark:
    """Sizes of the measurement.

    Attributes:
      num_photographs: JPEG records of `side` x `side` pixels that are read and decoded.
      side: Side of the photographs.
      num_threads: Threads for both sides of the comparison.
      repetitions: Paired repetitions.
      num_small: Small records that are prepared.
      num_reads: Random reads of small records, over which memory is watched.
    """

    num_photographs: int = 1000
    side: int = 1024
    num_threads: int = 2
    repetitions: int = 3
    num_small: int = 20_000
    num_reads: int = 1_000_000


def run(sizes: DataBenchmark | None = None) -> dict:
    """Measures photographs a second (decoding alone, random access, stream) and resident memory."""
    sizes = sizes or DataBenchmark()
    # Otherwise decoding a megapixel takes 7 or 17 ms, by what lies above its temporaries on the heap.
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        return {
            "sizes": dataclasses.asdict(sizes),
            "random_access": _random_access(sizes, Path(folder) / "photographs"),
            "memory": _memory(sizes, Path(folder) / "small"),
        }


def _source(folder: Path, images: Sequence[bytes], count: int) -> Path:
    """A source of `count` RL records that take the images in turn."""
    folder.mkdir(parents=True)
    for index, data in enumerate(images):
        (folder / f"{index}.jpg").write_bytes(data)
    with (folder / "data.jsonl").open("w", encoding="utf-8") as stream_:
        for index in range(count):
            name = f"{index % len(images)}.jpg"
            row = {"id": str(index), "problem": f"Question {index}?", "answer": "a", "images": [name]}
            stream_.write(json.dumps(row) + "\n")
    return folder


def _photographs(count: int, side: int) -> list[bytes]:
    """JPEG files of smooth random pictures with some noise: about as large as photographs."""
    found = []
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((side, side))
        pixels = np.asarray(coarse, np.int16) + rng.integers(-12, 13, (side, side, 3), dtype=np.int16)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def _random_access(sizes: DataBenchmark, folder: Path) -> dict:
    """Photographs a second: bytes in memory, random access by a thread pool, grain's shuffled stream."""
    images = _photographs(min(sizes.num_photographs, 50), sizes.side)
    source = _source(folder / "source", images, sizes.num_photographs)
    prepare(_DATASET, [source], folder / "data", Settings(task="spatial", num_threads=sizes.num_threads))
    examples = open_split(_DATASET.name, folder / "data", "train")
    places = np.random.default_rng(0).permutation(sizes.num_photographs).tolist()
    order = Order(shuffle_seed=0, num_threads=sizes.num_threads)

    def pooled(work: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(sizes.num_threads) as pool:
            for _ in pool.map(work, places):
                pass

    def streamed() -> None:
        for _ in stream(examples, order, apply=lambda example: decode_image(example.images[0]).shape):
            pass

    sides = {
        "decode_alone": lambda: pooled(lambda place: decode_image(images[place % len(images)]).shape),
        "random_access": lambda: pooled(lambda place: decode_image(examples[place].images[0]).shape),
        "stream": streamed,
    }
    next(iter(stream(examples, order)))  # Imports grain and starts its threads, which is not what is timed.
    return _rates(sides, sizes)


def _rates(sides: dict[str, Callable[[], None]], sizes: DataBenchmark) -> dict:
    """Photographs a second and processor time of each side, and its share of the first side's, timed in
    turn.
    """
    walls: dict[str, list[float]] = {name: [] for name in sides}
    cpus: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(sizes.repetitions):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    return {
        name: {
            "photographs_per_second": sizes.num_photographs / statistics.median(walls[name]),
            "speed_share_of_decoding_alone": _median_share(walls["decode_alone"], walls[name]),
            "cpu_ms_per_photograph": 1e3 * statistics.median(cpus[name]) / sizes.num_photographs,
            "cpu_share_of_decoding_alone": _median_share(cpus["decode_alone"], cpus[name]),
        }
        for name in sides
    }


def _median_share(first: Sequence[float], times: Sequence[float]) -> float:
    return statistics.median(f / t for f, t in zip(first, times, strict=True))


def _memory(sizes: DataBenchmark, folder: Path) -> dict:
    """Resident memory in MiB while small records are prepared, and while they are read at random places."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(buffer, "PNG")
    source = _source(folder / "source", [buffer.getvalue()], sizes.num_small)
    preparing: list[float] = []

    def watch(split: str, rows_read: int) -> None:
        if rows_read % max(sizes.num_small // 10, 1) == 0:
            preparing.append(_resident_mib())

    start = time.perf_counter()
    shard_rows = max(1, sizes.num_small // 20)
    settings = Settings(task="spatial", num_threads=sizes.num_threads, shard_rows=shard_rows, progress=watch)
    prepare(_DATASET, [source], folder / "data", settings)
    seconds = time.perf_counter() - start
    reading = _watch_reads(open_split(_DATASET.name, folder / "data", "train"), sizes.num_reads)
    return {
        "records_prepared_per_second": sizes.num_small / seconds,
        "preparing_mib_by_tenth": preparing,
        "reading_mib_by_tenth": reading,
    }


def _watch_reads(examples: Examples, num_reads: int) -> list[float]:
    rng = np.random.default_rng(0)
    resident = []
    for _ in range(10):
        for place in rng.integers(0, len(examples), num_reads // 10):
            examples[place]
        resident.append(_resident_mib())
    return resident


def _resident_mib() -> float:
    """Resident memory of this process in MiB, as Linux states it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
