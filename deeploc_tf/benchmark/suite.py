"""Suites: frozen standards, labels and prospective tests that any table can be scored on.

A suite is a folder with `suite.json`, its manifest, and the files that this names with their
digests. Files that may not be shared are outside: the manifest has their digest, and a user has
them. docs/suite.md shows how to make one.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
import pydantic
import scipy.stats

from deeploc_tf.benchmark.formats.text import numbered_lines
from deeploc_tf.benchmark.identifiers import IdentifierMap, read_identifiers
from deeploc_tf.benchmark.prospective import Prospect
from deeploc_tf.benchmark.standards import Standard, StandardError, read_standard
from deeploc_tf.profiles.tables import VectorTable
from deeploc_tf.text_tables import read_table, require_column
from tfrecords.errors import did_you_mean

MANIFEST = "suite.json"
SUITES = Path(__file__).parent / "suites"
FROZEN = {"yeast": "06b12b32d4a8a909e0c01720902659d4c2eb5d635b86c4369f629ce665d110fe"}
"""Suites that come with the package, and the digest of each."""


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SuiteFile(_Part):
    """A file of a suite.

    Attributes:
        file: path below the manifest's folder or, of a file outside, its name.
        sha256: digest; of a file outside it must be there.
        format: a name in `FORMATS`; None finds it.
        aspect: of the Gene Ontology.
        outside: it is no part of the suite; whoever has it names its folder.
    """

    file: str = pydantic.Field(min_length=1)
    sha256: str | None = pydantic.Field(None, pattern="^[0-9a-f]{64}$")
    format: str | None = None
    aspect: Literal["C", "F", "P"] | None = None
    outside: bool = False

    @pydantic.field_validator("file")
    @classmethod
    def _stay_inside(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file:
            msg = f"a path must stay inside the folder of the suite. Received: {file!r}"
            raise ValueError(msg)
        return file

    @pydantic.model_validator(mode="after")
    def _know_digest(self) -> SuiteFile:
        if self.outside and self.sha256 is None:
            msg = f"a file outside the suite must have its sha256. Received: none of {self.file!r}"
            raise ValueError(msg)
        return self


class SuiteStandard(SuiteFile):
    """A standard of a suite.

    Attributes:
        name: of the standard.
        scored: whether profiles are scored on it; one that is not can serve for labels.
        source: who made it.
        license: under which it is shared.
    """

    name: str = pydantic.Field(min_length=1)
    scored: bool = True
    source: str = ""
    license: str = ""


class SuiteAbundance(SuiteFile):
    """A table of how much of each protein there is.

    Attributes:
        protein: column of the protein.
        value: column of the number.
    """

    protein: str
    value: str


class SuiteProspect(_Part):
    """A prospective test, see `Prospect`.

    Attributes:
        name: of the test.
        known: standard of the members at first.
        new: standard of the members that came.
        candidates: a protein a line.
        neighbors: how many known members make a score.
        left_out: reason -> how many terms the maker left out.
    """

    name: str = pydantic.Field(min_length=1)
    known: SuiteFile
    new: SuiteFile
    candidates: SuiteFile | None = None
    neighbors: pydantic.PositiveInt = 10
    left_out: dict[str, int] = {}


class SuiteManifest(_Part):
    """The content of `suite.json`.

    Attributes:
        schema_version: 1.
        name: of the suite.
        version: of the suite; another one for other files.
        organism: whose proteins they are.
        identifiers: tables of names, see `read_identifiers`.
        standards: what profiles are scored on.
        labels: names of standards whose terms are labels: baselines and conditions.
        abundance: another baseline.
        prospective: tests of what came later.
    """

    schema_version: Literal[1]
    name: str = pydantic.Field(min_length=1)
    version: str = pydantic.Field(min_length=1)
    organism: str = ""
    identifiers: tuple[SuiteFile, ...] = ()
    standards: tuple[SuiteStandard, ...] = pydantic.Field(min_length=1)
    labels: tuple[str, ...] = ()
    abundance: SuiteAbundance | None = None
    prospective: tuple[SuiteProspect, ...] = ()

    @pydantic.model_validator(mode="after")
    def _know_names(self) -> SuiteManifest:
        names = [standard.name for standard in self.standards]
        tests = [test.name for test in self.prospective]
        for found in (names, tests):
            if len(set(found)) < len(found):
                msg = f"each name must be there once. Received: {', '.join(found)}"
                raise ValueError(msg)
        for label in self.labels:
            if label not in names:
                hint = did_you_mean(label, names)
                msg = f"`labels` must name standards. Received: {label!r}.{hint}"
                raise ValueError(msg)
        return self


@dataclass(frozen=True)
class Suite:
    """A suite, read.

    Attributes:
        name: of the suite.
        version: of the suite.
        digest: SHA-256 of the manifest with the digests of all files.
        standards: to score on.
        labels: by name.
        identifiers: gives each protein the name to use; None: names are used as they are.
        abundance: a vector per protein, or None.
        prospective: tests.
        absent: name of what is outside and was not found -> a sentence.
    """

    name: str
    version: str
    digest: str
    standards: tuple[Standard, ...]
    labels: Mapping[str, Standard] = field(default_factory=dict)
    identifiers: IdentifierMap | None = None
    abundance: VectorTable | None = None
    prospective: tuple[Prospect, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def proteins(self) -> frozenset[str]:
        """Those that a standard to score on has in a term."""
        terms = (term for standard in self.standards for term in standard.terms.values())
        return frozenset().union(*terms)


def open_suite(name: str | Path, data: str | Path | None = None) -> Suite:
    """Read a suite and compare all of its files with their digests.

    Args:
        name: of a suite of the package ("yeast"), or the folder or manifest of another one.
        data: folder with files that are outside, by their names, at any depth.

    Raises:
        StandardError: there is no such suite, its manifest is not what it must be, or a file is
            missing or has another digest.
        OSError: a file cannot be read.
    """
    path = _manifest_path(name)
    values, manifest = _read_manifest(path)
    files = _Files(path.parent, None if data is None else Path(data))
    tables = [files.found(table) for table in manifest.identifiers]
    identifiers = read_identifiers(*tables) if tables else None
    absent: dict[str, str] = {}
    standards: dict[str, Standard] = {}
    for entry in manifest.standards:
        if (file := files.find(entry)) is None:
            absent[entry.name] = _where(entry)
        else:
            standards[entry.name] = _standard(file, entry, identifiers, entry.name)
    abundance = None
    if (amounts := manifest.abundance) is not None:
        if (file := files.find(amounts)) is None:
            absent["abundance"] = _where(amounts)
        else:
            abundance = abundance_profiles(read_table(file), amounts.protein, amounts.value)
    prospective = tuple(
        Prospect(
            test.name,
            _standard(files.found(test.known), test.known, identifiers, test.name),
            _standard(files.found(test.new), test.new, identifiers, test.name),
            None if test.candidates is None else _listed(files.found(test.candidates), identifiers),
            test.neighbors,
        )
        for test in manifest.prospective
    )
    digest = _digest(values, files)
    builtin = path.parent.parent == SUITES
    if builtin and digest != FROZEN[manifest.name]:
        msg = (
            f"The suite {manifest.name!r} must be the frozen one. Received: digest {digest}, "
            f"frozen {FROZEN[manifest.name]}. Install deeploc-tf anew."
        )
        raise StandardError(msg)
    scored = [entry.name for entry in manifest.standards if entry.scored]
    return Suite(
        manifest.name,
        manifest.version,
        digest,
        tuple(standards[one] for one in scored if one in standards),
        {label: standards[label] for label in manifest.labels if label in standards},
        identifiers,
        abundance,
        prospective,
        absent,
    )


def abundance_profiles(table: pd.DataFrame, protein: str, value: str) -> VectorTable:
    """One number a protein as profiles: its rank as a place on a quarter of a circle.

    The more ranks are between two proteins, the smaller is the cosine of their profiles.

    Args:
        table: a row per protein; rows without a number are left out.
        protein: column of the protein.
        value: column of the number.

    Raises:
        TableError: a column is missing.
    """
    for column in (protein, value):
        require_column(table.columns, column, "A table of abundance")
    numbers = pd.to_numeric(table[value], errors="coerce").to_numpy(np.float64)
    names = table[protein].astype(str)
    good = np.isfinite(numbers) & (names != "").to_numpy() & ~names.duplicated().to_numpy()
    ranks = scipy.stats.rankdata(numbers[good]) / max(1, good.sum())
    angle = ranks * np.pi / 2
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    metadata = pd.DataFrame({"protein": names[good].to_numpy()})
    return VectorTable(features, metadata, {"kind": "abundance"}, ("cosine", "sine"))


@dataclass
class _Files:
    """Files of a suite, found and compared with their digests, each once."""

    folder: Path
    data: Path | None
    digests: dict[Path, str] = field(default_factory=dict)

    def find(self, entry: SuiteFile) -> Path | None:
        """The file, or None where it is outside and was not found."""
        if not entry.outside:
            path = self.folder / entry.file
            if not path.is_file():
                msg = f"A suite must have its files. Received: {self.folder} without {entry.file}."
                raise StandardError(msg)
            self._check(path, entry)
            return path
        if self.data is None:
            return None
        if not self.data.is_dir():
            msg = f"The data of a suite must be in a folder. Received: {str(self.data)!r}."
            raise StandardError(msg)
        found = sorted(path for path in self.data.rglob(glob.escape(entry.file)) if path.is_file())
        good = [path for path in found if self.digest(path) == entry.sha256]
        if found and not good:
            self._check(found[0], entry)
        return good[0] if good else None

    def found(self, entry: SuiteFile) -> Path:
        """The file.

        Raises:
            StandardError: it is not there; only standards and abundance may be absent.
        """
        if (path := self.find(entry)) is None:
            msg = (
                f"This file of the suite must be there. Received: no {_where(entry)}. Name the "
                "folder that has it (--suite-data FOLDER)."
            )
            raise StandardError(msg)
        return path

    def digest(self, path: Path) -> str:
        """SHA-256 of a file."""
        if path not in self.digests:
            with path.open("rb") as file:
                self.digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self.digests[path]

    def _check(self, path: Path, entry: SuiteFile) -> None:
        if entry.sha256 is not None and self.digest(path) != entry.sha256:
            msg = (
                "A file of a suite must be the one that the suite was made with. Received: "
                f"{path} with SHA-256 {self.digest(path)}, not {entry.sha256}. Get the file anew, "
                "or give your suite another version and the new digest."
            )
            raise StandardError(msg)


def _where(entry: SuiteFile) -> str:
    return f"{entry.file} with SHA-256 {entry.sha256}"


def _manifest_path(name: str | Path) -> Path:
    if str(name) in FROZEN:
        return SUITES / str(name) / MANIFEST
    path = Path(name)
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        msg = (
            f"A suite must be {' or '.join(FROZEN)}, or a folder with {MANIFEST}. Received: "
            f"{str(name)!r}.{did_you_mean(str(name), FROZEN)}"
        )
        raise StandardError(msg)
    return path


def _read_manifest(path: Path) -> tuple[dict[str, Any], SuiteManifest]:
    try:
        values = json.loads(path.read_text("utf-8"))
        return values, SuiteManifest.model_validate(values)
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        if isinstance(error, pydantic.ValidationError):
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            why = f"{where or 'the manifest'}: {first['msg'].removeprefix('Value error, ')}"
        msg = (
            "A suite's manifest must be as the page 'Suites' of the documentation has it. "
            f"Received: {path}, {why}."
        )
        raise StandardError(msg) from error


def _standard(
    path: Path, entry: SuiteFile, identifiers: IdentifierMap | None, name: str
) -> Standard:
    options: dict[str, Any] = {"format": entry.format, "aspect": entry.aspect}
    return read_standard(path, name, identifiers=identifiers, **options)


def _listed(path: Path, identifiers: IdentifierMap | None) -> frozenset[str]:
    names = [line.strip() for _, line in numbered_lines(path)]
    return frozenset(names if identifiers is None else identifiers.map(names)[0])


def _digest(values: Any, files: _Files) -> str:
    """SHA-256 of a manifest in which every file has its digest."""

    def filled(part: Any) -> Any:
        if isinstance(part, list):
            return [filled(one) for one in part]
        if not isinstance(part, dict):
            return part
        whole = {name: filled(value) for name, value in part.items()}
        if "file" in part and not part.get("outside"):
            whole["sha256"] = files.digest(files.folder / part["file"])
        return whole

    text = json.dumps(filled(values), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
