"""Batches read by Apache Beam: here, or on a cluster whose workers see the same files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from deeploc_tf.extras import install
from deeploc_tf.ingest.reading import BatchReader, Rows


def check_beam() -> None:
    """Raise `ImportError` if there is no Apache Beam."""
    if find_spec("apache_beam") is None:
        msg = (
            "`--runner beam` needs Apache Beam. Received: an installation without it. Mend it: "
            f"{install('beam')}"
        )
        raise MissingBeamError(msg)


class MissingBeamError(ImportError, ValueError):
    """There is no Apache Beam."""


def read_with_beam(
    reader: BatchReader,
    jobs: Iterator[tuple[int, Rows]],
    folder: Path,
    *,
    options: Sequence[str] = (),
) -> Iterator[int]:
    """Read batches in a Beam pipeline, whose workers save them in `folder`.

    Beam only deals out batches: what a worker does with one, and what becomes of it afterwards, is
    what several workers do, so the data set is the same, byte for byte. Beam does a batch again
    if its worker failed, or twice at a time; that is harmless, since a saved batch appears at once
    and is always the same.

    Args:
        reader: what each worker reads with; it is pickled.
        jobs: number and rows of each batch.
        folder: where batches are saved; all workers must see it, and the source's files, by the
            same paths.
        options: of the pipeline, such as `--runner=FlinkRunner`; by default it runs here.

    Yields:
        The number of each batch, when all are saved.

    Raises:
        MissingBeamError: there is no Apache Beam.
        ValueError: Beam does not know an option.
        ChildProcessError: a worker failed; it says how.
    """
    check_beam()
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    batches = list(jobs)
    if not batches:
        return
    try:
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            _ = (
                pipeline
                | "Batches" >> beam.Create(batches)
                | "Deal out" >> beam.Reshuffle()
                | "Read and save" >> beam.Map(_save, reader, str(folder))
            )
    except RuntimeError as error:  # what Beam makes of an error that a worker raised
        msg = f"Every batch must be read. Received: {error}. The same command goes on."
        raise ChildProcessError(msg) from error
    yield from (number for number, _ in batches)


def _save(job: tuple[int, Rows], reader: BatchReader, folder: str) -> int:
    number, rows = job
    reader.read(rows).save(Path(folder), number)
    return number
