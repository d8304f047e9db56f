"""Coverage-guided fuzzing of what reads files of others: whatever the bytes, a sentence of ours.

    python experiments/fuzz_readers.py READER FOLDER [-max_total_time=600 ...]

READER is a name in `READERS`; FOLDER keeps its corpus, and in FOLDER/found each input that broke
something: an error that is none of ours, once per type and place. libFuzzer stops at what takes
more than 20 seconds or 2 GB. Needs the package atheris, in an environment of its own; `make fuzz`
makes one, and runs all readers. What was found is in docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

try:
    import atheris
except ImportError:  # the tests use the readers without it
    atheris = None

_LOOKED_INTO = (
    "deeploc_tf.benchmark.formats",
    "deeploc_tf.profiles.tables.text",
    "deeploc_tf.sources.formats",
    "deeploc_tf.text_tables",
    "tfrecords.codec",
    "tfrecords.framing",
    "tfrecords.manifest",
    "tfrecords.schema",
)

with atheris.instrument_imports(_LOOKED_INTO) if atheris else io.BytesIO():
    from deeploc_tf.benchmark.formats.ontology import read_ontology
    from deeploc_tf.benchmark.formats.text import StandardError
    from deeploc_tf.benchmark.identifiers import read_identifiers
    from deeploc_tf.benchmark.standards import read_standard
    from deeploc_tf.profiles.tables import open_rows
    from deeploc_tf.sources.images import describe_image, read_plane, read_stack
    from deeploc_tf.sources.source import RejectedCrop, SourceError
    from deeploc_tf.text_tables import TableError, read_table
    from tfrecords.codec import decode, encode
    from tfrecords.errors import RecordsError
    from tfrecords.framing import frame, records
    from tfrecords.manifest import MANIFEST_NAME, read_manifest
    from tfrecords.schema import Crop, Schema

MAX_PIXELS = 1 << 22
SCHEMA = Schema(
    image_shape=(4, 4, 1),
    dtype="uint16",
    channels=("gfp",),
    label_names=("a", "b"),
    metadata={"field": "text", "plate": "int64", "focus": "float32"},
)
_SEPARATOR = b"\xff\xfe--\n"  # between the files of one input
_ARRAY_NAMES = ("zarr.json", "0/zarr.json", "0/c/0/0", ".zattrs", "0/.zarray", "0/0.0")


def read_record(data: bytes, _folder: Path) -> None:
    """A shard, and a record by itself, whose checksum the fuzzer will not find."""
    try:
        for start, stop in records(data):
            decode(data[start:stop], SCHEMA)
    except RecordsError:
        pass
    decode(data, SCHEMA)


def read_a_manifest(data: bytes, folder: Path) -> None:
    """`manifest.json`."""
    (folder / MANIFEST_NAME).write_bytes(data)
    read_manifest(folder)


def read_an_image(data: bytes, folder: Path) -> None:
    """TIFF, PNG or NPY, in the three ways that images are read."""
    path = folder / "image.tif"
    path.write_bytes(data)
    for read in (read_plane, read_stack, describe_image):
        with contextlib.suppress(RejectedCrop):
            read(path, max_pixels=MAX_PIXELS)


def read_an_ngff(data: bytes, folder: Path) -> None:
    """The files of an OME-Zarr image, divided by `_SEPARATOR`."""
    image = folder / "image.zarr"
    for name, content in zip(_ARRAY_NAMES, data.split(_SEPARATOR), strict=False):
        path = image / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if content:
            path.write_bytes(content)
    image.mkdir(exist_ok=True)
    for read in (read_stack, describe_image):
        with contextlib.suppress(RejectedCrop, FileNotFoundError):
            read(image, max_pixels=MAX_PIXELS)


def read_standards(data: bytes, folder: Path) -> None:
    """Gold standards, identifiers and ontologies of every format."""
    readers: list[tuple[str, Callable[[Path], Any]]] = [
        ("s.txt", read_standard),
        ("s.gmt", read_standard),
        ("s.gaf", read_standard),
        ("s.json", read_standard),
        ("s.obo", read_ontology),
        ("i.tab", read_identifiers),
    ]
    for name, read in readers:
        (folder / name).write_bytes(data)
        with contextlib.suppress(StandardError):
            read(folder / name)


def read_tables(data: bytes, folder: Path) -> None:
    """Text tables, of anything and of vectors."""
    for name in ("t.csv", "t.tsv"):
        (folder / name).write_bytes(data)
        for read in (read_table, open_rows):
            with contextlib.suppress(TableError):
                read(folder / name)


def _crop() -> Crop:
    image = np.arange(16, dtype=np.uint16).reshape(4, 4, 1)
    metadata = {"field": "1", "plate": 2, "focus": 0.5}
    return Crop("a/1", image, None, (1,), "AAC1", metadata)


def _of_records() -> Iterator[bytes]:
    record = encode(_crop(), SCHEMA)
    yield record
    yield frame(record)


def _of_manifests() -> Iterator[bytes]:
    import tfrecords

    with tempfile.TemporaryDirectory() as folder:
        crop = _crop()
        entries = [tfrecords.Entry(crop.key, "train", crop.labels, crop.protein)]
        path = Path(folder) / "r"
        tfrecords.write_records(
            path, schema=SCHEMA, entries=entries, crops=[crop], group_by=("field",)
        )
        yield (path / MANIFEST_NAME).read_bytes()


def _of_images() -> Iterator[bytes]:
    import tifffile

    plane = np.arange(64, dtype=np.uint16).reshape(8, 8)
    for given in (
        {},
        {"compression": "zlib", "tile": (16, 16)},
        {"compression": "lzw"},
        {"bigtiff": True},
        {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["gfp", "rfp"]}}},
        {"imagej": True, "metadata": {"axes": "CYX"}},
    ):
        file = io.BytesIO()
        stack = "axes" in given.get("metadata", {})  # type: ignore[operator]
        tifffile.imwrite(file, np.stack([plane] * 2) if stack else plane, **given)
        yield file.getvalue()
    file = io.BytesIO()
    np.save(file, plane)
    yield file.getvalue()


def _of_ngff() -> Iterator[bytes]:
    axes = [{"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space"}]
    scale = [{"type": "scale", "scale": [0.1, 0.1]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    image = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": levels}]}
    pixels = np.arange(16, dtype="<u2").tobytes()
    array = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [4, 4],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": image}}
    group["attributes"]["ome"]["version"] = "0.5"  # type: ignore[index]
    v3 = [json.dumps(group).encode(), json.dumps(array).encode(), pixels]
    yield _SEPARATOR.join([*v3, b"", b"", b""])
    old = {
        "zarr_format": 2,
        "shape": [4, 4],
        "chunks": [4, 4],
        "dtype": "<u2",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    v2 = [json.dumps(image).encode(), json.dumps(old).encode(), pixels]
    yield _SEPARATOR.join([b"", b"", b"", *v2])


def _of_standards() -> Iterator[bytes]:
    yield b"term\tdescription\tYAL001C\tYAL002W\nother\t\tYAL003W\tAAC1\n"
    yield b"YAL001C\tterm one\nYAL002W\tterm two\n"
    yield b'{"term": ["YAL001C", "YAL002W"], "other": ["YAL003W"]}'
    yield b"format-version: 1.2\n\n[Term]\nid: GO:0000001\nname: a\nis_a: GO:0000002 ! b\n"
    fields = (
        b"SGD\tS1\tAAC1\t\tGO:0000001\tPMID:1\tIDA\t\tC\tname\tYMR056C|x\tgene\ttaxon:1\t2020\tSGD"
    )
    yield b"!gaf-version: 2.2\n" + fields + b"\n"
    yield b"S000004660\tORF\tVerified\tYMR056C\tAAC1\tOLD1|OLD2\n"
    yield b"ORF,gene,localization\nYAL001C,TFC3,nucleus:cytosol\n"


def _of_tables() -> Iterator[bytes]:
    yield b"protein,a,b\nAAC1,1,2.5\n'=A1,-1e5,nan\n"
    yield b'\xef\xbb\xbf"protein"\ta\r\n"x ""y"" z"\t1\r\n'
    yield b"protein;Metadata_Well;a\nP;A01;1,5\n"


READERS: dict[str, tuple[Callable[[bytes, Path], None], Callable[[], Iterator[bytes]]]] = {
    "record": (read_record, _of_records),
    "manifest": (read_a_manifest, _of_manifests),
    "image": (read_an_image, _of_images),
    "ngff": (read_an_ngff, _of_ngff),
    "standard": (read_standards, _of_standards),
    "table": (read_tables, _of_tables),
}
OURS = (RecordsError, RejectedCrop, SourceError, StandardError, TableError)


def problem(read: Callable[[bytes, Path], None], data: bytes, folder: Path) -> str:
    """Type and place of an error that is none of ours, or ""."""
    try:
        read(data, folder)
    except OURS:
        return ""
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "deeploc_tf/" in f.filename or "tfrecords/" in f.filename]
        place = ours[-1] if ours else frames[-1]
        return f"{type(error).__name__}-{Path(place.filename).stem}-{place.lineno}"
    return ""


def main() -> None:
    """Fuzz one reader; without a name, print all."""
    if len(sys.argv) < 2:
        print(*READERS)
        return
    name, folder = sys.argv[1], Path(sys.argv[2])
    read, seeds = READERS[name]
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    (folder / "found").mkdir(exist_ok=True)
    for seed in seeds():
        (folder / "corpus" / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    logging.disable()
    warnings.simplefilter("ignore")
    memory = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))

    def once(data: bytes) -> None:
        if found := problem(read, data, scratch):
            path = folder / "found" / found
            if not path.exists():
                path.write_bytes(data)
                print(f"FOUND {found}: {len(data)} bytes", file=sys.stderr)

    limits = ("-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/found/")
    arguments = [sys.argv[0], str(folder / "corpus"), *limits, *sys.argv[3:]]
    atheris.Setup(arguments, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
