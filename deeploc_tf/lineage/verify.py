"""`verify`: whether a file or folder that we wrote is as it was written."""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
from pathlib import Path

from deeploc_tf.input_files import INPUTS_NAME, listed_inputs
from deeploc_tf.lineage.things import (
    SEALED,
    STEP,
    TABLES,
    NoDigestError,
    Thing,
    check_json,
    no_digest_error,
    read_thing,
    step_key,
)
from deeploc_tf.progress import ShowProgress, counting
from deeploc_tf.provenance import (
    HEADS,
    MODEL_NAME,
    changed_since,
    file_digest,
    json_of,
    seal_of,
)
from deeploc_tf.remote_records import local_records
from deeploc_tf.serving.digests import check_digests, savedmodel_folder
from tfrecords.manifest import check_shards, read_manifest

_CARD = "README.md"
_DRAWN = {"precision_recall", "scores", "confusion", "reliability"}  # beside what they show


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was found whole.

    Attributes:
        thing: what it is.
        checked: how, in words.
        digest: by which its children name it.
        num_crops: of records; else 0.
    """

    thing: Thing
    checked: str
    digest: str
    num_crops: int = 0


def verify(
    path: str | Path,
    *,
    deep: bool = False,
    digest: str | None = None,
    cache: str | Path | None = None,
    progress: ShowProgress = False,
) -> Verified:
    """Check that a file or folder that we wrote is as it was written.

    Args:
        path: records (a folder, or an address as `s3://bucket/records`), a run, an exported model,
            a table, scores, results of any command, a page, a picture, a study or a demo.
        deep: of records every record, too, and the files for TensorFlow Datasets; of the others
            every byte is read anyway.
        digest: that it must have, as somebody told you.
        cache: folder of copies, of records at an address; see `local_records`.
        progress: True to show the number of crops checked; or a callable that gets
            `(done, total)`.

    Raises:
        FileNotFoundError: there is nothing.
        NoDigestError: nothing tells whether it is as it was written.
        ValueError: it is damaged; the message names the file. Or its digest is another one.

    Example:
        verify("records", deep=True).checked
    """
    found = _verified(local_records(path, cache), deep=deep, progress=progress)
    if digest is not None and found.digest != digest.strip().lower():
        msg = (
            "The digest must be the one that was told. Received: "
            f"{found.digest or 'none'} of {str(path)!r}, told {digest}. Get the files anew."
        )
        raise ValueError(msg)
    return found


def _verified(path: Path, *, deep: bool, progress: ShowProgress) -> Verified:
    try:
        thing = read_thing(path)
    except NoDigestError:
        found = _verified_in(path, deep=deep, progress=progress) if path.is_dir() else {}
        if not found:
            raise
        checked = f"with {', '.join(found)}"
        if not deep and "records" in found.values():
            checked += "; not every byte of records, which --deep reads"
        return Verified(Thing(path, "folder", {}, {}), checked, "")
    if thing.kind == "records" and path.is_dir():
        return _records_checked(thing, deep=deep, progress=progress)
    checked = _check_folder(thing) if path.is_dir() else _check_file(thing)
    return Verified(thing, checked, next(iter(thing.identity.values()), ""))


def _verified_in(folder: Path, *, deep: bool, progress: ShowProgress) -> dict[str, str]:
    """Name -> kind of what lies in a folder of several things, as a demo's, each of them whole."""
    found = {}
    for child in sorted(folder.iterdir()):
        if child.name[0] != "." and (child.is_dir() or child.suffix in (*SEALED, *TABLES, ".json")):
            with contextlib.suppress(NoDigestError):
                found[child.name] = verify(child, deep=deep, progress=progress).thing.kind
    return found


def _records_checked(thing: Thing, *, deep: bool, progress: ShowProgress) -> Verified:
    path = thing.path
    manifest = read_manifest(path)
    check_shards(path, manifest)
    if (path / INPUTS_NAME).is_file():
        listed_inputs(path / INPUTS_NAME)
    total = sum(manifest.num_crops(split) for split in manifest.split_names)
    checked = "every byte read"
    if deep:
        from deeploc_tf.units import same_in_column
        from tfrecords.verify import verify_deep

        with counting(progress, "Verifying crops", total) as count:
            verify_deep(path, progress=lambda done, _: count(done), same=same_in_column)
    else:
        what = "names, sizes and some checksums" if manifest.has_checksums else "names and sizes"
        checked = f"{what} checked; --deep reads every byte"
    if not manifest.has_checksums:
        checked += "; format 1, without digests of records"
    return Verified(thing, checked, manifest.digest, total)


def check_bytes_of_records(path: Path) -> None:
    """Raise `ValueError` unless every shard has its digest; no record is decoded."""
    manifest = read_manifest(path)
    check_shards(path, manifest)
    for split in manifest.split_names:
        for shard in manifest.shards(split):
            if file_digest(path / shard.name) != shard.sha256:
                msg = (
                    "A shard must be as it was written. Received: another digest of "
                    f"{path / shard.name}. `deeploc-tf verify {path} --deep` says which record."
                )
                raise ValueError(msg)


def _check_folder(thing: Thing) -> str:
    path = thing.path
    if thing.kind == "SavedModel":
        return _check_savedmodel(path)
    if thing.kind == "step of a study":
        if not path.name.endswith(step_key(thing.said)[:12]):
            msg = (
                f"{STEP} must be as it was written. Received: {str(path / STEP)!r}, changed since."
            )
            raise ValueError(msg)
        return _check_listed(path, path / STEP)
    heads = [path / name for name in HEADS if (path / name).is_file()]
    checked = []
    if thing.kind == "run":
        checked.append(_check_run(path))
    for head in heads:
        values = json_of(head)
        if {"digest", "made_from"} & values.keys():  # of the same version: neither or both
            check_json(head, values)
            checked.append(_check_listed(path, head))
    for sealed in sorted(path.iterdir()):
        if sealed.suffix not in SEALED or not sealed.is_file():
            continue
        if _own_check(read_thing(sealed)):
            checked.append(sealed.name)
        elif sealed.stem in _DRAWN and "made_from" in thing.said:
            raise changed_since(sealed, "its seal is gone")
    if thing.kind == "study":
        steps = sorted((path / "steps").glob(f"*/{STEP}"))
        for step in steps:
            verify(step.parent)
        checked.append(f"{len(steps)} steps")
    if not checked:
        raise no_digest_error(path)
    return ", ".join(filter(None, checked))


def _check_run(path: Path) -> str:
    config = path / "config.json"
    values = json_of(config)
    if "digest" in values:
        check_json(config, values)
    elif not (path / MODEL_NAME).exists():
        raise no_digest_error(config)
    if not (path / MODEL_NAME).exists():
        return "config.json; the training is not finished"
    for archive in sorted(path.glob("*.keras")):
        check_archive_checksums(archive)
    return "config.json" if "digest" in values else "checksums in model.keras"


def check_archive_checksums(path: Path) -> None:
    """Raise `ValueError` unless the parts of a `.keras` file have their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise changed_since(path, error) from error
    if bad is not None:
        raise changed_since(path, f"{bad} has another checksum")


def _check_savedmodel(path: Path) -> str:
    """Every file of the version, and of the folder above it the card."""
    version = savedmodel_folder(path)
    if version is None:
        raise no_digest_error(path)
    digest = check_digests(version)
    card = path / _CARD
    if version == path or not card.exists():
        return "every byte read"
    if seal_of(card) is None and digest not in card.read_text("utf-8", errors="replace"):
        msg = f"its card does not name the digest of its files, {digest}"
        raise changed_since(card, msg)
    return "every byte read"


def _check_listed(folder: Path, head: Path) -> str:
    """Every file that the JSON of a folder names."""
    files = json_of(head).get("files", {})
    if not isinstance(files, dict):
        raise changed_since(head, "its list of files is none")
    for name, digest in files.items():
        _check_digest(folder / name, digest, head)
    return f"{head.name} and {len(files)} files" if files else head.name


def _check_digest(path: Path, digest: str, head: Path) -> None:
    if not path.is_file():
        msg = f"Every file must be there. Received: no {str(path)!r}, which {head.name} names."
        raise ValueError(msg)
    if file_digest(path) != digest:
        raise changed_since(path, f"its digest is not that in {head.name}")


def _check_file(thing: Thing) -> str:
    """By all digests that there are: the file's own, and that in the JSON beside it."""
    checked = [_own_check(thing)]
    if thing.listed is not None:
        head, digest = thing.listed
        _check_digest(thing.path, digest, head)
        values = json_of(head)
        if head.name in (*HEADS[1:], thing.path.with_suffix(".json").name):
            check_json(head, values)
        checked.append(f"that in {head.name}")
    if not any(checked):
        raise no_digest_error(thing.path)
    return "digests compared: " + ", ".join(filter(None, checked))


def _own_check(thing: Thing) -> str:
    """By what in the file was it checked; "" where it has nothing."""
    path = thing.path
    if path.name == "manifest.json":
        read_manifest(path.parent)
        return "its own; verify the folder for that of its shards"
    if path.suffix == ".json":
        if "digest" not in thing.said:
            return ""
        check_json(path, thing.said)
        _check_listed(path.parent, path)
        return f"its own and those of {len(thing.said.get('files', {}))} files beside it"
    if thing.kind in ("page", "picture", "card"):
        return "its own" if seal_of(path) is not None else ""
    if thing.kind == "transform" or path.suffix == ".keras":
        check_archive_checksums(path)
        return "those of its parts"
    if thing.kind.startswith("file"):
        return ""
    from deeploc_tf.profiles.tables import open_rows

    table = open_rows(path)
    for _ in table.chunks():
        pass
    for name in table.columns:
        table.column(name)
    return f"those of {table.num_rows} rows"
