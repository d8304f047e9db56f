"""How fast do image files become records? Ratios of crops per second, side by side.

    python perf/records.py [--cells 12288] [--copies 1] [--repeats 5] [--folder FOLDER]
    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 python perf/records.py
    sudo python perf/records.py --cold [--folder FOLDER]
    python perf/records.py --scale [--largest 1000000]

A crop is a pair of uncompressed 64 x 64 uint16 TIFF files, one per channel, in the page cache. With
`--copies`, a table lists each pair several times under other keys: equal crops, which a build
compares byte for byte.
Contestants, in alternating order, so that a busy machine hits all alike:

- pil: `PIL.Image.open` of both files, `numpy.stack`, a `tf.train.Example` of the same features as
  ours, `tf.io.TFRecordWriter` to one file. No check, no digest, no shuffle, no fsync.
- tifffile: the same with `tifffile.imread`.
- ours: `build_records` as it is by default: every file, header, pixel and label checked, stamps
  of all files compared, records permuted, SHA-256 of all bytes, fsync, manifest.
- ours, unchecked: files read and decoded as in ours, Examples framed and written in the order of
  the source, and nothing else.
- ours, 2 workers: as ours.
- 2 bare readers: two processes, each of which reads and decodes half of the pairs (`os.read` of
  the file's size, `imagecodecs.tiff_decode`) and throws the pixels away.

The two lines of two processes are timed from the moment when the processes are up: a start costs
half a second, whatever is read. Prints a table and ends with a line of JSON, of ratios of medians;
those that end in `_cpu` are of seconds of CPU, which other work on the machine disturbs less (ours
digests in a second thread, so that it is then shown slower than it is where cores are free).
With `--cold` (Linux, root) the system forgets all files before each contestant, so that they come
from the disk, as those of a screen do. With the two variables (glibc) the process keeps the memory
that contestants free: a virtual machine is slow to give new memory, of which ours holds 200 MB.
With `--scale`, crops of 8 x 8 pixels from memory show that time and memory a crop stay the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deeploc_tf.ingest import build_records
from deeploc_tf.sources.crop_table import TableSource
from tfrecords.codec import encode
from tfrecords.framing import frame
from tfrecords.publishing import write_file
from tfrecords.schema import Crop, Schema

Pairs = list[tuple[str, str]]
SCHEMA = Schema((64, 64, 2), "uint16", ("gfp", "rfp"), label_names=("a", "b", "c"))


def make_cells(folder: Path, num_cells: int, copies: int) -> TableSource:
    """Files of noise, since what is in the pixels costs nothing here, and the table of them."""
    import tifffile

    generator = np.random.default_rng(0)
    rows = []
    for cell in range(num_cells):
        protein = folder / f"P{cell % 97}"
        protein.mkdir(parents=True, exist_ok=True)
        for channel in ("gfp", "rfp"):
            image = generator.integers(0, 9000, (64, 64), np.uint16)
            tifffile.imwrite(protein / f"{cell:06d}_{channel}.tif", image)
    for copy in range(copies):
        for cell in range(num_cells):
            stem = f"P{cell % 97}/{cell:06d}"
            row = [f"{copy}/{stem}", f"{stem}_gfp.tif", f"{stem}_rfp.tif"]
            rows.append([*row, f"P{cell % 97}", "abc"[cell % 3]])
    columns = ["key", "gfp", "rfp", "protein", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "cells.csv", index=False)
    source = TableSource(folder / "cells.csv", {"gfp": "gfp", "rfp": "rfp"})
    source.index()
    return source


def by_tensorflow(index: pd.DataFrame, pairs: Pairs, read: Callable[[str], Any], out: Path) -> None:
    """The usual way: a message object for each crop, TensorFlow's writer."""
    import tensorflow as tf

    def feature(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    rows = zip(pairs, index["key"], index["protein"], index["label"], strict=True)
    with tf.io.TFRecordWriter(str(out)) as writer:
        for (gfp, rfp), key, protein, label in rows:
            image = np.stack([read(gfp), read(rfp)], axis=-1)
            features = {
                "image": feature(image.tobytes()),
                "key": feature(key.encode()),
                "label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=["abc".index(label)])
                ),
                "protein": feature(protein.encode()),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def unchecked(source: TableSource, index: pd.DataFrame, out: Path) -> None:
    """Ours without digest, stamps, quality, order and fsync."""
    schema, read = SCHEMA, source.read

    def frames() -> Iterator[bytes]:
        rows = zip(index["key"], index["protein"], index["label"], strict=True)
        for position, (key, protein, label) in enumerate(rows):
            image, _ = read(position)
            crop = Crop(key, image, None, ("abc".index(label),), protein)
            yield frame(encode(crop, schema))

    write_file(out, frames(), durable=False)


def ours(source: TableSource, out: Path, workers: int) -> float:
    """Seconds of a build; with workers, from the moment when the first batch could be read."""
    if workers == 1:
        start = time.perf_counter()
        build_records(source, out, label="label")
        return time.perf_counter() - start
    waited = _start_of_a_process(source)
    start = time.perf_counter()
    build_records(source, out, label="label", workers=workers)
    return time.perf_counter() - start - waited


def _ready(connection: Any, _: object) -> None:
    connection.send(True)


def _start_of_a_process(source: object) -> float:
    """Seconds until two spawned processes, which get `source`, answer."""
    start = time.perf_counter()
    with _answering(_ready, [source, source]):
        return time.perf_counter() - start


@contextlib.contextmanager
def _answering(target: Callable[..., None], arguments: list[Any]) -> Iterator[list[Any]]:
    """A spawned process for each argument; gives the connections when all have answered."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in arguments]
    processes = [
        context.Process(target=target, args=(theirs, argument))
        for (_, theirs), argument in zip(pipes, arguments, strict=True)
    ]
    for process in processes:
        process.start()
    for ours, _ in pipes:
        ours.recv()
    yield [ours for ours, _ in pipes]
    for process in processes:
        process.join()


def _bare(connection: Any, pairs: Pairs) -> None:
    from imagecodecs import tiff_decode

    connection.send(True)
    connection.recv()
    for pair in pairs:
        for path in pair:
            descriptor = os.open(path, os.O_RDONLY)
            content = os.read(descriptor, os.fstat(descriptor).st_size)
            os.close(descriptor)
            tiff_decode(content)
    connection.send(True)


def two_bare_readers(pairs: Pairs) -> float:
    """Seconds in which two processes read and decode half of the pairs each."""
    halves = [pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]]
    with _answering(_bare, halves) as connections:
        start = time.perf_counter()
        for connection in connections:
            connection.send(True)
        for connection in connections:
            connection.recv()
        return time.perf_counter() - start


def measure(
    source: TableSource, folder: Path, repeats: int, cold: bool
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Crops per second, and per second of CPU of this process, of each contestant; one a repeat."""
    import tifffile
    from PIL import Image

    index = source.index()
    pairs: Pairs = [tuple(source.paths(i)) for i in range(len(index))]  # type: ignore[misc]
    out = folder / "out"

    def pil(path: str) -> Any:
        with Image.open(path) as image:
            return np.asarray(image)

    def timed(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    contestants: dict[str, Callable[[], float]] = {
        "pil": lambda: timed(lambda: by_tensorflow(index, pairs, pil, out)),
        "tifffile": lambda: timed(lambda: by_tensorflow(index, pairs, tifffile.imread, out)),
        "ours": lambda: ours(source, out, 1),
        "ours, unchecked": lambda: timed(lambda: unchecked(source, index, out)),
        "ours, 2 workers": lambda: ours(source, out, 2),
        "2 bare readers": lambda: two_bare_readers(pairs),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    cpu_rates: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(-1, repeats):  # the first round warms up
        order: Sequence[str] = list(contestants)
        for name in order if repeat % 2 else reversed(order):
            if cold:
                forget_files()
            cpu = time.process_time()
            seconds = contestants[name]()
            cpu = time.process_time() - cpu
            if out.is_dir():
                shutil.rmtree(out)
            out.unlink(missing_ok=True)
            if repeat >= 0:
                rates[name].append(len(index) / seconds)
                cpu_rates[name].append(len(index) / cpu)
    return rates, cpu_rates


def forget_files() -> None:
    """Let the system drop what it holds of files: the next read goes to the disk."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


class MemorySource:
    """Tiny crops that cost nothing to read; nothing of them is kept but their number."""

    channels = ("gfp",)
    description: dict[str, Any] = {"kind": "memory"}  # noqa: RUF012
    rejects = ()
    passed_over: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, num_crops: int) -> None:
        self.num_crops = num_crops
        self._image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)

    def index(self) -> pd.DataFrame:
        """One row a crop."""
        return pd.DataFrame({"key": [f"{i:08d}" for i in range(self.num_crops)]})

    def read(self, position: int) -> tuple[Any, None]:
        """The same pixels for all, but for four."""
        image = self._image.copy()
        image[0, :4, 0] = np.frombuffer(position.to_bytes(4, "little"), np.uint8)
        return image, None

    def files(self, position: int) -> tuple[str, ...]:
        """None; a name for messages."""
        return (f"crop {position}",)

    def paths(self, position: int) -> tuple[str, ...]:  # noqa: ARG002
        """None."""
        return ()


def scale(largest: int) -> None:
    """Build data sets of growing numbers of crops, each in a process of its own."""
    columns = (("crops", 10), ("us/crop", 10), ("us of CPU", 11), ("peak MB", 10))
    print("".join(f"{name:>{width}}" for name, width in columns) + "   bytes/crop over the first")
    results = []
    for num_crops in (largest // 20, largest // 4, largest):
        process = multiprocessing.get_context("spawn").Pool(1)
        with process:
            seconds, cpu, peak = process.apply(_build_from_memory, (num_crops,))
        microseconds = seconds / num_crops * 1e6, cpu / num_crops * 1e6
        results.append((num_crops, *microseconds, peak))
        more = (peak - results[0][-1]) / max(1, num_crops - results[0][0])
        line = f"{num_crops:10,}{microseconds[0]:10.1f}{microseconds[1]:11.1f}"
        print(f"{line}{peak / 1e6:10.0f}{more:28.0f}", flush=True)
    summary = {
        "crops": [num_crops for num_crops, *_ in results],
        "microseconds_a_crop": [round(wall, 1) for _, wall, _, _ in results],
        "cpu_microseconds_a_crop": [round(cpu, 1) for _, _, cpu, _ in results],
        "peak_megabytes": [round(peak / 1e6) for *_, peak in results],
    }
    print(json.dumps(summary))


def _build_from_memory(num_crops: int) -> tuple[float, float, int]:
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        # on disk, as a build of crops of common size
        build_records(MemorySource(num_crops), Path(folder) / "records", batch_bytes=16 << 20)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=12288)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where to write, by default where temporary files go")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--largest", type=int, default=1_000_000)
    arguments = parser.parse_args()
    if arguments.scale:
        scale(arguments.largest)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source = make_cells(Path(folder) / "cells", arguments.cells, arguments.copies)
        rates, cpu_rates = measure(source, Path(folder), arguments.repeats, arguments.cold)
    cpu = {name: statistics.median(values) for name, values in cpu_rates.items()}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{'':18}{'crops/s':>10}{'lowest':>10}{'highest':>10}{'of pil':>8}{'of tifffile':>13}")
    for name, values in rates.items():
        ratios = [medians[name] / medians[base] for base in ("pil", "tifffile")]
        numbers = f"{medians[name]:10,.0f}{min(values):10,.0f}{max(values):10,.0f}"
        print(f"{name:18}{numbers}{ratios[0]:8.2f}{ratios[1]:13.2f}")
    result = {
        "ours_over_pil": medians["ours"] / medians["pil"],
        "ours_over_tifffile": medians["ours"] / medians["tifffile"],
        "unchecked_over_pil": medians["ours, unchecked"] / medians["pil"],
        "unchecked_over_tifffile": medians["ours, unchecked"] / medians["tifffile"],
        "two_workers_over_two_bare_readers": medians["ours, 2 workers"] / medians["2 bare readers"],
        "ours_over_pil_cpu": cpu["ours"] / cpu["pil"],
        "ours_over_tifffile_cpu": cpu["ours"] / cpu["tifffile"],
        "unchecked_over_pil_cpu": cpu["ours, unchecked"] / cpu["pil"],
        "unchecked_over_tifffile_cpu": cpu["ours, unchecked"] / cpu["tifffile"],
    }
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
