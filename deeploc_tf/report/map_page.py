"""The interactive map: one file of HTML with proteins, cells, neighbors and terms, and no network.

It is `map_page.html` with `map_page.css`, `map_page.js` and the data; see `script_page`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from deeploc_tf.benchmark.identifiers import IdentifierMap
from deeploc_tf.benchmark.read_standards import AnyStandard, standards_of
from deeploc_tf.benchmark.shared_terms import SharedTerms
from deeploc_tf.benchmark.standards import Standard
from deeploc_tf.profiles.reading import open_profiles
from deeploc_tf.profiles.space import nearest, search_space
from deeploc_tf.profiles.tables import AnyTable, RowTable
from deeploc_tf.progress import ShowProgress
from deeploc_tf.provenance import parent, with_seal
from deeploc_tf.report.choices import Projection
from deeploc_tf.report.drawing import COLORS
from deeploc_tf.report.map import has_umap, positions, used_projection
from deeploc_tf.report.map_crops import ProteinCrops, protein_crops
from deeploc_tf.report.map_regions import clusters, enriched
from deeploc_tf.report.script_page import check_suffix, script_page
from deeploc_tf.version import __version__
from tfrecords.publishing import publish_bytes

_log = logging.getLogger(__name__)

MAX_BYTES = 25_000_000
_MEGABYTE = 10**6
_PROJECTIONS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components"}
_LABELS = "label in the records"
# Principal axes of a sketch: as many as leave out a thousandth of the squares, and 64 at most.
_LEFT_OUT, _MOST_AXES = 0.001, 64


@dataclasses.dataclass(frozen=True)
class WrittenMap:
    """What a page of `write_map` holds.

    Attributes:
        path: of the page.
        num_bytes: its size.
        num_proteins: how many are on it.
        num_crops: pictures of cells.
        notes: sentences about what the page lacks; it shows them, too.
    """

    path: Path
    num_bytes: int
    num_proteins: int
    num_crops: int
    notes: tuple[str, ...]


def write_map(
    path: str | Path,
    profiles: AnyTable,
    *,
    records: str | Path | None = None,
    standards: AnyStandard | Sequence[AnyStandard] = (),
    identifiers: IdentifierMap | None = None,
    distinct_case: bool = False,
    allow_unmatched: int | None = None,
    num_neighbors: int = 10,
    center: bool = False,
    projection: Projection | None = None,
    crops_per_protein: int = 4,
    max_bytes: int = MAX_BYTES,
    title: str = "Map of proteins",
    progress: ShowProgress = False,
) -> WrittenMap:
    """Write proteins in the plane as one page that opens without a network.

    Near points have similar profiles. The page colors them by any column of the table or by any
    standard, finds proteins by name, alias, term and value, and shows cells, nearest neighbors and
    shared terms of each; `PAGE.html#NAME` opens it at a protein.

    Args:
        path: of the page, ending in .html; the file is old or new, never a mixture.
        profiles: a table with a row per protein, in memory or its path, see `open_rows`.
        records: folder of the data set whose cells to show; they are read without TensorFlow.
        standards: whose terms to show, see `standards_of`.
        identifiers: further names of proteins to find them by, and to match with standards.
        distinct_case: let names that differ in case be two proteins.
        allow_unmatched: how many proteins may be in no term of a standard; None: any number.
        num_neighbors: of each protein, by cosine similarity; 0 for none.
        center: take the mean of all profiles off first.
        projection: see `deeploc_tf.report.map.positions`; None: UMAP if installed, else t-SNE.
        crops_per_protein: pictures of cells of each protein, at most; 0 for none.
        max_bytes: largest size of the page; there are fewer crops where it does not hold all.
        title: of the page.
        progress: True to show how many crops are read; or a callable that gets `(done, total)`.

    Returns:
        What was written.

    Raises:
        ValueError: the table has no row, or two rows of one protein; the page is too large even
            without crops; a standard or the records have no protein of the table.
        MissingExtraError: the projection needs an extra that is not installed.

    Example:
        write_map("map.html", "cells.profiles.parquet", standards="complexes.gmt")
    """
    path = check_suffix(path)
    opened = open_profiles(profiles, distinct_case=distinct_case)
    source, table = opened.path.name if opened.stored.is_file else "", opened.read()
    names = [str(name) for name in table.metadata["protein"]]
    if not names:
        msg = f"A map must have a protein. Received: {source or 'a table'} without a row."
        raise ValueError(msg)
    known, aliases = _names(names, identifiers)
    read = standards_of(standards, identifiers)
    shared = SharedTerms(read, known, distinct_case=distinct_case, allow_unmatched=allow_unmatched)
    notes = _lacking(records, read, crops_per_protein)
    chosen = projection or ("umap" if has_umap() else "tsne")
    vectors, placed = _comparable(table.features, center=center)
    if not placed.all():
        notes.append(
            f"{(~placed).sum()} of {len(names)} profiles are not finite or zero everywhere: these "
            "proteins are in the table, but have no place on the map and no neighbors."
        )
    _log.info("Placing %d proteins by %s.", placed.sum(), chosen)
    places = np.full((len(names), 2), np.nan)
    places[placed] = positions(vectors[placed], chosen)
    crops = None
    if records is not None and crops_per_protein:
        crops = protein_crops(records, names, crops_per_protein, progress=progress)
    content: dict[str, Any] = {
        "title": title,
        "version": __version__,
        "projection": _PROJECTIONS[used_projection(chosen, int(placed.sum()))],
        "source": source,
        "about": _about(table.provenance, center=center),
        "proteins": names,
        "aliases": aliases,
        "places": _packed(places, "<f4"),
        "columns": _columns(table.metadata, crops, names),
        "standards": _terms(shared, known, places),
        "neighbors": _neighbors(vectors, placed, names, num_neighbors),
        "sketch": _sketch(vectors, placed),
        "palette": COLORS,
        "notes": notes,
        "crops": None,
    }
    made_from = _made_from(opened, records, read)
    room = max_bytes - len(with_seal(b"", made_from))
    images = _fitting(path, title, content, crops, room)
    data = with_seal(script_page("map_page", title, content), made_from)
    publish_bytes(path, data)
    return WrittenMap(path, len(data), len(names), images, tuple(content["notes"]))


def _made_from(
    profiles: RowTable, records: str | Path | None, standards: Sequence[Standard]
) -> list[dict[str, Any]]:
    """Parents of the page."""
    found = profiles.made_from("profiles")
    if records is not None:
        found.append(parent("records", records))
    of_standards = {str(one): one for s in standards for one in s.made_from()}
    return [*found, *of_standards.values()]


def _lacking(records: object, standards: Collection[Standard], count: int) -> list[str]:
    """What a map could have and was not given."""
    notes = []
    if records is None or not count:
        notes.append("No cells are shown: no records were given.")
    if not standards:
        notes.append("No terms are shown: no standards were given.")
    return notes


def _names(
    names: Sequence[str], identifiers: IdentifierMap | None
) -> tuple[list[str], dict[int, list[str]]]:
    """The name that standards use for each protein, and by row its further names."""
    if identifiers is None:
        return list(names), {}
    known, _ = identifiers.map(names)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(known):
        rows.setdefault(name, []).append(row)
    aliases: dict[int, set[str]] = {}
    for other in {name for tier in identifiers.tiers for name in tier}:
        meant = identifiers.candidates(other)
        for row in rows.get(next(iter(meant)), ()) if len(meant) == 1 else ():
            if other != names[row]:
                aliases.setdefault(row, set()).add(other)
    return known, {row: sorted(found) for row, found in sorted(aliases.items())}


def _comparable(
    features: NDArray[np.float32], *, center: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Profiles that can be compared by cosine, and which these are."""
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
    vectors = np.array(features, np.float32)
    if center and usable.any():
        vectors -= vectors[usable].mean(axis=0, dtype=np.float64).astype(np.float32)
    usable[usable] = np.linalg.norm(vectors[usable].astype(np.float64), axis=1) > 0
    return vectors, usable


def _neighbors(
    vectors: NDArray[np.float32], placed: NDArray[np.bool_], names: Sequence[str], count: int
) -> dict[str, Any]:
    """Rows and similarities of the nearest proteins, `(num_proteins, count)`; row -1 for none."""
    rows = np.flatnonzero(placed)
    count = min(count, max(len(rows) - 1, 0))
    near = np.full((len(names), count), -1)
    likeness = np.zeros((len(names), count), np.float32)
    if count:
        some = [names[row] for row in rows.tolist()]
        space = search_space(vectors[rows], some, some)
        found, likeness[rows] = nearest(space, np.arange(len(rows)), count)
        near[rows] = rows[found]
    return {
        "count": count,
        "rows": _packed(near, "<i4"),
        "similarities": _packed(likeness, "<f4"),
    }


def _sketch(vectors: NDArray[np.float32], placed: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Profiles in a byte per principal axis, whose products are about the cosine similarities.

    The error that 99 % of pairs stay below is measured on 4,000 of them. None where no profile has
    a place.
    """
    if not placed.any():
        return None
    unit = vectors[placed].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    wide = unit.shape[1] > len(unit)
    squares, axes = np.linalg.eigh(unit @ unit.T if wide else unit.T @ unit)
    squares, axes = squares[::-1].clip(min=0), axes[:, ::-1]
    size = int(np.searchsorted(squares.cumsum(), (1 - _LEFT_OUT) * squares.sum())) + 1
    size = min(size, _MOST_AXES, len(squares))
    along = axes[:, :size] * np.sqrt(squares[:size]) if wide else unit @ axes[:, :size]
    scales = np.maximum(abs(along).max(axis=0) / 127, np.finfo(np.float32).tiny)
    codes = np.zeros((len(vectors), size), np.int8)
    codes[placed] = np.rint(along / scales)
    one, other = np.random.default_rng(0).integers(len(unit), size=(2, 4000))
    about = codes[placed] * scales
    error = np.einsum("ij,ij->i", about[one], about[other]) - np.einsum(
        "ij,ij->i", unit[one], unit[other]
    )
    return {
        "size": size,
        "codes": _packed(codes, "i1"),
        "scales": _packed(scales, "<f4"),
        "error": float(np.quantile(abs(error), 0.99)),
    }


def _columns(
    metadata: pd.DataFrame, crops: ProteinCrops | None, names: Sequence[str]
) -> list[dict[str, Any]]:
    """What proteins can be colored by: columns of numbers, and of classes."""
    columns = [_column(str(name), values) for name, values in metadata.items() if name != "protein"]
    if crops is not None and any(crops.labels) and crops.labels != list(names):
        columns.append(_column(_LABELS, pd.Series(crops.labels)))
    return columns


def _column(name: str, values: pd.Series[Any]) -> dict[str, Any]:
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        # A float32 is shown with its own digits: 0.1, and not 0.10000000149.
        numbers = values.astype(str) if values.dtype == np.float32 else values
        return {
            "name": name,
            "numbers": _packed(numbers.to_numpy(np.float64, na_value=np.nan), "<f8"),
        }
    texts = values.astype(object).where(values.notna(), "").map(str).tolist()
    classes = sorted(set(texts) - {""}, key=lambda text: (text.casefold(), text))
    code = {text: number for number, text in enumerate(classes)}
    codes = [code.get(text, -1) for text in texts]
    return {"name": name, "classes": classes, "codes": _packed(codes, "<i4")}


def _terms(
    shared: SharedTerms, known: Sequence[str], places: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Of each standard its terms, and those of each protein as a list of lists in two arrays.

    And the regions of the map that terms name.
    """
    of_protein = [shared.of(name) for name in known]
    names = dict.fromkeys(report["name"] for report in shared.reports)
    placed = np.flatnonzero(np.isfinite(places).all(axis=1))
    region = clusters(places[placed])
    regions = enriched(
        region, {name: [of_protein[row][name] for row in placed.tolist()] for name in names}
    )
    standards = []
    for name in names:
        lists = [found[name] for found in of_protein]
        terms = sorted({term for found in lists for term in found})
        code = {term: number for number, term in enumerate(terms)}
        standards.append(
            {
                "name": name,
                "terms": terms,
                "starts": _packed(np.cumsum([0, *map(len, lists)]), "<i4"),
                "members": _packed([code[term] for found in lists for term in found], "<i4"),
                "regions": [
                    {
                        "place": np.median(places[placed][region == found.number], axis=0).tolist(),
                        **dataclasses.asdict(found),
                    }
                    for found in regions[name]
                ],
            }
        )
    return standards


def _about(provenance: Mapping[str, Any], *, center: bool) -> list[tuple[str, str]]:
    """What is known of where the profiles come from, and how they were compared."""
    plain = [
        (name.replace("_", " "), str(value))
        for name, value in provenance.items()
        if isinstance(value, str | int | float) and name != "format_version"
    ]
    return [*plain, ("similarity", f"cosine{' around the mean profile' if center else ''}")]


def _fitting(
    path: Path,
    title: str,
    content: dict[str, Any],
    crops: ProteinCrops | None,
    max_bytes: int,
) -> int:
    """Give the content as many crops as the page may hold, a round of all proteins at a time."""
    left = max_bytes - len(script_page("map_page", title, content))
    if left < 0:
        msg = (
            f"A page must have {max_bytes:,} bytes at most. Received: {max_bytes - left:,} for "
            f"{path.name} without a crop. Allow more, or give fewer standards."
        )
        raise ValueError(msg)
    if crops is None:
        return 0
    chosen: list[list[str]] = [[] for _ in crops.images]
    shown = {"channels": crops.channels, "shape": crops.shape, "images": chosen}
    content["crops"] = shown
    left -= len(json.dumps(shown, ensure_ascii=False).encode()) + 400  # and a note
    total = sum(map(len, crops.images))
    # In an order that is neither alphabetical nor another one on the next run.
    order = sorted(
        range(len(chosen)), key=lambda row: zlib.crc32(content["proteins"][row].encode())
    )
    for turn in range(max(map(len, crops.images))):
        for row in order:
            if turn < len(crops.images[row]):
                text = base64.b64encode(crops.images[row][turn]).decode()
                left -= len(text) + 4
                if left < 0:
                    break
                chosen[row].append(text)
        if left < 0:
            break
    count = sum(map(len, chosen))
    if count < total:
        content["notes"].append(
            f"{count:,} of {total:,} crops are shown: a page of {max_bytes / _MEGABYTE:g} MB holds "
            "no more."
        )
    if lacking := sum(not images for images in crops.images):
        content["notes"].append(f"{lacking:,} proteins have no crop in the records.")
    return count


def _packed(values: ArrayLike, dtype: str) -> str:
    """Numbers as base64 of little-endian bytes."""
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()
