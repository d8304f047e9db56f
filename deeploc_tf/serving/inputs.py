"""The cells of a source and what is known of each, in the columns that `predict` writes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.models.trained import OtherPixelSize, check_pixel_size
from deeploc_tf.names import matched, respelled_channels, same_channels
from deeploc_tf.serving.description import Description
from deeploc_tf.sources import Source, SourceError
from deeploc_tf.sources.plate_map import (
    PlateMap,
    as_texts,
    columns_above_wells,
    fields_of_pattern,
    may_be_a_plate,
    with_wells,
)
from deeploc_tf.sources.resampling import Resampling
from deeploc_tf.sources.source import UNREADABLE, Pixels, Reject, RejectedCrop
from deeploc_tf.text_tables import require_column
from deeploc_tf.units import kind_of_column, same_in_column, whole_path
from tfrecords.errors import SchemaError
from tfrecords.retrying import retried

logger = logging.getLogger(__name__)

_OURS = (
    *("accepted", "area", "call", "calibrated_confidence", "confidence", "flags"),
    *("label_set", "novelty"),
)
MOST_DEVIATIONS = 3.0
"""Scaled median absolute deviations of the logarithm from which on an area is unusual."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the protein and the place of a cell stand.

    Attributes:
        protein: column of the protein; None: `protein`, where there is one.
        well: column of the well; None: `well`, or what else names a well (`Well`, `well_id`).
        plate: column of the plate; None: what names one (`plate`, `barcode`, ...), and what stands
            before the well in the pattern.
        field: column of the field; None: what names one (`field`, `site`, ...).
        plate_map: table of what is in each well, see `PlateMap`.
        allow_unmatched: how many wells may have no row in it.
        distinct_case: let proteins that differ in case be two.
        delimiter: of a plate map in text; None for what divides its header.
        where: column -> the values of the cells that are wanted; none: all cells.
    """

    protein: str | None = None
    well: str | None = None
    plate: str | None = None
    plate_map: Path | None = None
    allow_unmatched: int = 0
    distinct_case: bool = False
    field: str | None = None
    delimiter: str | None = None
    where: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)

    def table(
        self, source: Source, folder: str, plate_map: PlateMap | None = None
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """One row a cell: `key`, `folder` if it has a name, `protein`, `well`, then the rest.

        The rest is what the source knows, the user's own columns among it, and `flags`. The frame's
        index is the position of each cell in the source.

        Args:
            source: of the cells.
            folder: its name, or "".
            plate_map: of `plate_map`.

        Returns:
            The cells, and the columns that together name a well.

        Raises:
            SourceError: a key is there twice, a column is missing or has a name of ours, or the
                plate map does not fit.
            NameConflictError: two plates or wells may or may not be one.
        """
        frame = source.index()
        if not frame["key"].is_unique:
            twice = frame["key"][frame["key"].duplicated()].iloc[0]
            msg = f"Every cell must have a key of its own. Received: {twice!r} twice."
            raise SourceError(msg)
        frame = _with_details(_named_apart(frame, "The cells"), source)
        if folder:
            frame["key"] = f"{folder}/" + frame["key"].astype(str)
            frame["folder"] = folder
        frame = _with_column(frame, self.plate, "plate") if self.plate else frame
        frame = _with_column(frame, self.field, "field") if self.field else frame
        frame = _with_column(frame, self.well, "well", required=plate_map is None)
        above = columns_above_wells(frame, self.plate, source)
        for name in (*above, *(["well"] if "well" in frame else [])):
            if frame[name].dtype.kind not in "iu":
                frame[name] = _one_spelling(frame[name], name)
        if plate_map is not None:
            plate_map.wells = _named_apart(plate_map.wells, plate_map.path.name)
            frame = plate_map.join(frame, above)
        for name, given in (("well", self.well), ("protein", self.protein)):
            frame = _with_column(frame, given, name)
            frame[name] = (
                _one_spelling(frame[name], name, distinct_case=self.distinct_case)
                if name in frame
                else ""
            )
        path = whole_path([*above, "well"], [str(name) for name in frame])
        _say_what_wells_pool(frame, path, source)
        for name in ("protein", "well", "plate", "field"):  # one name, in tables of vectors
            twins = [str(n) for n in frame if n != name and str(n).casefold() == name]
            if twins and name in frame:
                frame = frame.drop(columns=[name] if twins[0] in path else twins)
        first = ["key", *(["folder"] if folder else []), "protein", "well"]
        rest = [name for name in frame.columns if name not in first]
        return frame[first + rest], path

    def wanted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The cells, as `table` gives them, that meet all conditions of `where`."""
        for name, values in self.where.items():
            require_column(frame.columns, name, "A column of conditions")
            forms = {same_in_column(name, value) for value in values}
            texts = as_texts(frame[[name]])[name]
            frame = frame[[same_in_column(name, text) in forms for text in texts]]
        return frame


def _named_apart(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    """The table with `meta_` before names that the output needs for itself."""
    if "folder" in frame:
        msg = (
            "Columns of cells must not be called 'folder', which stands for the folder of the "
            f"fields. Received: such a column. {what} must name it otherwise."
        )
        raise SourceError(msg)
    taken = [str(n) for n in frame if n in _OURS or str(n).startswith("probability_")]
    renamed = {name: f"meta_{name}" for name in taken}
    if clash := sorted(set(renamed.values()) & {*map(str, frame)}):
        msg = (
            "Columns must differ from the names of the output, also with `meta_` before them. "
            f"Received: {', '.join(clash)}. Rename them in the table or the pattern."
        )
        raise SourceError(msg)
    if renamed:
        pairs = ", ".join(f"{name!r} is {new!r}" for name, new in renamed.items())
        logger.info("%s: columns get other names, since the output has theirs: %s.", what, pairs)
    return frame.rename(columns=renamed)


def _with_details(frame: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The cells with what their source knows beside its index, and what is odd about objects."""
    details: pd.DataFrame | None = None
    if (found := getattr(source, "details", None)) is not None:
        details = found()
    flags = [""] * len(frame)
    if details is not None:
        own = [name for name in details if name not in ("area", "touches", "cut")]
        named = _named_apart(details[own], "The table of cells")
        frame = frame.join(named[[name for name in named if name not in frame]])
        if "area" in details:
            frame["area"] = details["area"]
            odd = {
                "touches another cell": details["touches"].to_numpy(np.bool_),
                "cut by the edge": details["cut"].to_numpy(np.bool_),
                "unusual area": _is_unusual(details["area"].to_numpy(np.float64)),
            }
            flags = [
                "|".join(flag for flag, are in odd.items() if are[row]) for row in range(len(frame))
            ]
    frame["flags"] = flags
    return frame


def _is_unusual(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which areas lie far from the median, on a logarithmic scale; none where most are equal."""
    with np.errstate(divide="ignore"):
        logs = np.log(areas)
    known = logs[areas > 0]
    if not known.size:
        return np.zeros(len(areas), np.bool_)
    middle = np.median(known)
    scale = 1.4826 * np.median(np.abs(known - middle))
    unusual: NDArray[np.bool_] = (areas > 0) & (np.abs(logs - middle) > MOST_DEVIATIONS * scale)
    return unusual if scale > 0 else np.zeros(len(areas), np.bool_)


def _with_column(
    frame: pd.DataFrame, given: str | None, what: str, *, required: bool = True
) -> pd.DataFrame:
    """The table with the column that was named, or that is called alike, under its usual name.

    Without any a well is made of a row and a column of the plate.
    """
    if given is not None:
        if given in frame.columns or required:
            require_column(frame.columns, given, f"The column of the {what}")
            frame[what] = frame[given]
        return frame
    if what in frame.columns:
        return frame
    alike = [str(name) for name in frame if kind_of_column(str(name)) == what]
    if len(alike) == 1:
        logger.info("The column of the %s is %r.", what, alike[0])
        frame[what] = frame[alike[0]]
        return frame
    return with_wells(frame) if what == "well" else frame


def _say_what_wells_pool(frame: pd.DataFrame, path: Sequence[str], source: Source) -> None:
    """Name the fields of the pattern that differ within a well and could be its plate."""
    if not frame["well"].any():
        return
    for name in fields_of_pattern(source):
        if name in path or name not in frame or not may_be_a_plate(name):
            continue
        if int(frame.groupby(list(path))[name].nunique().max()) > 1:
            logger.warning(
                "A well is told apart by %s, and cells of one well have several values of %s. If "
                "%s names the plate, say so (--plate %s).",
                ", ".join(path),
                name,
                name,
                name,
            )


def _one_spelling(values: pd.Series[Any], column: str, *, distinct_case: bool = False) -> list[str]:
    """The texts of a column, each name in one spelling; "" where there is none."""
    texts = as_texts(values.to_frame())[values.name].tolist()
    kind = kind_of_column(column)
    spelling = matched(
        texts,
        kind,
        f"Values of column {column!r}",
        distinct_case=distinct_case and kind == "protein",
    )
    return [spelling[text] for text in texts]


def check_source(
    source: Source, description: Description, other_pixel_size: OtherPixelSize = "warn"
) -> list[str]:
    """Refuse channels that the model was not made for; return sentences about lesser differences.

    Args:
        source: of the crops.
        description: of the model.
        other_pixel_size: see `check_pixel_size`.

    Raises:
        SchemaError: channels differ, or their order; or the pixel size where it must not.
    """
    if not same_channels(source.channels, description.channels):
        msg = (
            "Fields must have the channels of the model, in its order. Received: "
            f"channels={tuple(source.channels)}, the model has {description.channels}. Name them "
            "with `channels` (--channels)."
        )
        raise SchemaError(msg)
    sentences = []
    if tuple(source.channels) != description.channels:
        sentences.append(respelled_channels(source.channels, description.channels))
    theirs = getattr(source, "pixel_size", None)
    check_pixel_size(description.pixel_size, theirs, "fields", other_pixel_size)
    return sentences


def read_crops(
    source: Source, positions: Iterable[int], description: Description, *, scale: bool = False
) -> Iterator[Pixels | Reject]:
    """Image and mask, or why there are none, of some cells of a source.

    Args:
        source: of the cells.
        positions: of the cells.
        description: of the model.
        scale: make crops of other sizes those of the model, by averages over areas.
    """
    for position in positions:
        try:
            image, mask = retried(source.read, position)
            if scale:
                image, mask = _scaled(image, mask, description.image_shape[0])
            _check_crop(image, mask, description)
        except (RejectedCrop, *UNREADABLE) as error:
            reason = error.reason if isinstance(error, RejectedCrop) else "file cannot be read"
            detail = str(error) if isinstance(error, RejectedCrop) else str(error.strerror)
            yield Reject(reason, "", source.files(position), detail)
        else:
            yield image, mask


def _scaled(
    image: NDArray[Any], mask: NDArray[Any] | None, size: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if len(image) == size:
        return image, mask
    resampling = Resampling(len(image) / size)
    return resampling.image(image), None if mask is None else resampling.labels(mask)


def _check_crop(
    image: NDArray[np.generic], mask: NDArray[np.generic] | None, description: Description
) -> None:
    expected = description.image_shape, description.dtype
    if (image.shape, image.dtype.name) != expected:
        msg = (
            f"Crops must be {description.image_shape} of {description.dtype} for this model. "
            f"Received: {image.shape} of {image.dtype.name}. Name a `dtype` to convert to "
            "(--dtype), or take fields as those of the training."
        )
        raise RejectedCrop(msg, reason="crop does not fit to the model")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        msg = "Pixels must be finite. Received: NaN or infinity."
        raise RejectedCrop(msg, reason="pixels are not finite")
    if "mask" in description.inputs and mask is None:
        msg = (
            "This model needs the mask of each cell. Received: fields without label images. Name "
            "them with `label_image` (--label-image)."
        )
        raise SchemaError(msg)
