"""Crops of a source into a data set of records: the first of the three commands."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeploc_tf.ingest.plan import plan_records
from deeploc_tf.ingest.reading import BatchReader, Rows, changed
from deeploc_tf.ingest.records_plan import RecordsPlan
from deeploc_tf.input_files import list_of_inputs
from deeploc_tf.processes import computed
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.sources.quality import Quality
from deeploc_tf.sources.rejects import as_lines, check_rejects, counted, from_json
from deeploc_tf.sources.source import Reject, Source, SourceError, files_behind
from tfrecords.manifest import FLAGGED_NAME, INPUTS_NAME, REJECTS_NAME
from tfrecords.parts import Part
from tfrecords.workspace import check_output
from tfrecords.writer import RecordsBuild

if TYPE_CHECKING:
    from tfrecords.manifest import Manifest

ReadBatches = Callable[[BatchReader, Iterator[tuple[int, Rows]], Path], Iterator[int]]
"""Reads batches, given with their numbers, saves them in a folder and yields the numbers."""


def build_records(
    source: Source,
    output: str | os.PathLike[str],
    *,
    quality: Quality | None = None,
    max_rejects: int = 0,
    overwrite: bool = False,
    workers: int = 1,
    batch_bytes: int | None = None,
    read_batches: ReadBatches | None = None,
    progress: ShowProgress = False,
    **options: Any,
) -> Manifest:
    """Write the crops of `source` as records; what can be checked is, before anything is written.

    The same crops, options and seed give the same bytes, whatever the order of the source and the
    number of workers. A build that was stopped goes on where it was when it is called again in the
    same way; one that fits into memory begins again.

    Cells that cannot be used are an error, or with `max_rejects` are set aside: the manifest counts
    them, and `rejects.jsonl` beside it lists them. Crops that are odd but usable are counted and
    listed in `flagged.jsonl`.

    Args:
        source: where the crops come from, for example a `FolderSource`.
        output: folder to make.
        quality: what is looked for in the pixels, and which of it sets a crop aside; by default
            nothing does.
        max_rejects: how many cells may be unusable.
        overwrite: `output` may be a data set, which is replaced when the new one is whole.
        workers: how many processes read. With more than one, a script that calls this must guard
            its main code by `if __name__ == "__main__":`.
        batch_bytes: see `tfrecords.write_records`.
        read_batches: what reads batches instead of this process or its workers, see `ReadBatches`.
        progress: True to show the number of crops read; or a callable that gets
            `(done, total)`.
        **options: labels, splits and more; those of `plan_records`.

    Returns:
        The manifest of the new data set.

    Raises:
        SourceError: files, tables, columns or labels are not as they must be, or changed meanwhile.
        SchemaError: crops differ in shape or dtype, or have pixels that are not finite.
        SplitError: a group lies in two splits, or crops of equal pixels or that overlap in their
            field do; a split is empty, or a class has no training crops.
        DuplicateKeyError: two crops have the same key.
        OutputExistsError: `output` is there already.
        LockedError: another process writes the same output.
        ChildProcessError: a worker died.
        OSError: the disk is too small, or failed.

    Example:
        source = FolderSource("crops", "{protein}/{field}_{cell}_{channel}.tif", ("gfp", "rfp"))
        build_records(source, "records", label="protein", conditions={"test": [("field", "4")]})
    """
    check_output(Path(output), overwrite=overwrite)
    plan = plan_records(source, max_rejects=max_rejects, **options)
    reader = BatchReader(source, plan.layout.schema, quality or Quality(), max_rejects)
    build = _begun(plan, reader, output, overwrite, workers, batch_bytes)
    with build.opened(), counting(progress, "Reading crops", len(plan.positions)) as count:
        _drop_changed(build, plan)
        found: dict[str, list[Reject]] = {
            "rejects": list(source.rejects),
            "set_aside": list(plan.set_aside),
            "flagged": [],
        }
        for number in itertools.chain(
            list(build.batches), _read(build, plan, reader, read_batches, count)
        ):
            for kind, rejects in found.items():
                rejects += from_json(build.batches[number].notes[kind])
            check_rejects(found["rejects"], max_rejects)
        plan.check([batch.places for batch in build.batches.values()])
        _refuse_changed(source, _drop_changed(build, plan))
        left_out = [*found["rejects"], *found["set_aside"]]
        beside = {REJECTS_NAME: left_out, FLAGGED_NAME: found["flagged"]}
        files = {name: as_lines(items) for name, items in beside.items() if items}
        if (inputs := list_of_inputs(files_behind(source, plan.positions.tolist()))) is not None:
            files[INPUTS_NAME] = inputs
        return build.finish(
            rejects={**plan.left_out, **counted(left_out)},
            flagged=counted(found["flagged"]),
            overlapping=plan.overlapping,
            files=files,
        )


def read_part(
    source: Source,
    output: str | os.PathLike[str],
    part: str,
    *,
    quality: Quality | None = None,
    max_rejects: int = 0,
    overwrite: bool = False,
    workers: int = 1,
    batch_bytes: int | None = None,
    read_batches: ReadBatches | None = None,
    progress: ShowProgress = False,
    **options: Any,
) -> int:
    """Read share K of N of the crops of a build, as a job of an array does.

    Once all parts are done, `build_records` with the same arguments puts them together; the records
    are the same as if it had read all.

    Args:
        source: as of `build_records`, as all else.
        output: the folder that `build_records` will make.
        part: "K/N", with K from 1 to N.
        quality: what is looked for in the pixels.
        max_rejects: how many cells may be unusable; `build_records` counts those of all parts.
        overwrite: `output` may be a data set.
        workers: how many processes read.
        batch_bytes: see `tfrecords.write_records`.
        read_batches: what reads batches instead of this process.
        progress: True to show the number of crops read; or a callable that gets `(done, total)`.
        **options: those of `plan_records`.

    Returns:
        How many crops there are in this part.

    Raises:
        PartsError: there are parts of other settings, or of another number of parts.
        ValueError: there is no such part.
        Exception: what `build_records` raises.

    Example:
        read_part(source, "records", "1/2", label="protein")
        read_part(source, "records", "2/2", label="protein")
        build_records(source, "records", label="protein")
    """
    share = Part.of(part)
    check_output(Path(output), overwrite=overwrite)
    plan = plan_records(source, max_rejects=max_rejects, **options)
    reader = BatchReader(source, plan.layout.schema, quality or Quality(), max_rejects)
    build = _begun(plan, reader, output, overwrite, workers, batch_bytes, share)
    with build.opened():
        _drop_changed(build, plan)
        numbers = [*build.batches, *build.todo]
        total = sum(stop - start for start, stop in (_rows(build, plan, n) for n in numbers))
        with counting(progress, "Reading crops", total) as count:
            rejects = list(source.rejects)
            kept = list(build.batches)
            for number in itertools.chain(kept, _read(build, plan, reader, read_batches, count)):
                rejects += from_json(build.batches[number].notes["rejects"])
                check_rejects(rejects, max_rejects)
        _refuse_changed(source, _drop_changed(build, plan))
    return total


def _begun(
    plan: RecordsPlan,
    reader: BatchReader,
    output: str | os.PathLike[str],
    overwrite: bool,
    workers: int,
    batch_bytes: int | None,
    part: Part | None = None,
) -> RecordsBuild:
    return RecordsBuild(
        Path(output),
        plan.layout,
        group_by=plan.group_by,
        units=plan.units,
        sources=[plan.origin],
        overwrite=overwrite,
        allow_duplicates=plan.allow_duplicates,
        identity=f"{plan.identity} {reader.quality}",
        workers=workers,
        batch_bytes=batch_bytes,
        part=part,
    )


def _read(
    build: RecordsBuild,
    plan: RecordsPlan,
    reader: BatchReader,
    read_batches: ReadBatches | None,
    count_crops: Callable[[int], None],
) -> Iterator[int]:
    """Read all batches that are still to be read; yields the number of each when it is whole."""
    rows_of = {number: _rows(build, plan, number) for number in build.todo}
    done = sum(stop - start for start, stop in (_rows(build, plan, n) for n in build.batches))

    def report(count: int) -> None:
        count_crops(done + count)

    jobs = ((number, plan.rows(*rows)) for number, rows in rows_of.items())
    if build.workers == 1 and read_batches is None:
        for number, rows in jobs:
            build.add(number, reader.read(rows, report))
            done += len(rows.keys)
            yield number
    else:
        read = read_batches or partial(_read_in_workers, workers=build.workers)
        for number in read(reader, jobs, build.folder):
            build.add(number)
            start, stop = rows_of[number]
            done += stop - start
            report(0)
            yield number


def _read_in_workers(
    reader: BatchReader, jobs: Iterable[tuple[int, Rows]], folder: Path, workers: int
) -> Iterator[int]:
    """Read batches in processes of their own, which save them in `folder`."""
    done = computed(partial(_read_and_save, reader, folder), jobs, workers, _named)
    return (number for (number, _), _ in done)


def _read_and_save(reader: BatchReader, folder: Path, job: tuple[int, Rows]) -> None:
    number, rows = job
    reader.read(rows).save(folder, number)


def _named(job: tuple[int, Rows]) -> str:
    number, rows = job
    return f"batch {number} ({len(rows.keys)} crops, {rows.keys[0]!r} to {rows.keys[-1]!r})"


def _rows(build: RecordsBuild, plan: RecordsPlan, number: int) -> tuple[int, int]:
    start = number * build.batch_crops
    return start, min(start + build.batch_crops, len(plan.positions))


def _drop_changed(build: RecordsBuild, plan: RecordsPlan) -> list[int]:
    """Positions of the crops whose files changed after they were read; forgets their batches."""
    found = []
    for number, batch in list(build.batches.items()):
        positions = changed(plan.source, plan.rows(*_rows(build, plan, number)), batch.notes)
        if positions:
            build.drop(number)
        found += positions
    return found


def _refuse_changed(source: Source, positions: Sequence[int]) -> None:
    if positions:
        files = ", ".join(source.files(positions[0]))
        msg = (
            "Files must not change while they are read. Received: another size or time of "
            f"{files} ({len(positions)} such crops). Let whoever writes them end, then run again."
        )
        raise SourceError(msg)
