"""The cells of a source and what is known of each, in the columns that `predict` writes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
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
from deeploc_tf.sources.source import UNREADABLE, Pixels, Reject, RejectedCrop
from deeploc_tf.text_tables import require_column
from deeploc_tf.units import kind_of_column, whole_path
from tfrecords.errors import SchemaError

logger = logging.getLogger(__name__)

_OURS = ("folder", "call", "confidence")


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
    """

    protein: str | None = None
    well: str | None = None
    plate: str | None = None
    plate_map: Path | None = None
    allow_unmatched: int = 0
    distinct_case: bool = False
    field: str | None = None
    delimiter: str | None = None

    def table(
        self, source: Source, folder: str, plate_map: PlateMap | None = None
    ) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """One row a cell: `key`, `folder` if it has a name, `protein`, `well`, then the rest.

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
        _check_names(frame)
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
            _check_names(plate_map.wells)
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
        first = ["key", *(["folder"] if folder else []), "protein", "well"]
        rest = [name for name in frame.columns if name not in first]
        return frame[first + rest], path


def _check_names(frame: pd.DataFrame) -> None:
    if taken := [n for n in frame if n in _OURS or str(n).startswith("probability_")]:
        msg = (
            f"Columns of cells must not have names of the output. Received: {taken}. Rename "
            "them in the table or the pattern."
        )
        raise SourceError(msg)


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
        return frame.rename(columns={alike[0]: what})
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
    source: Source, positions: range, description: Description
) -> Iterator[tuple[int, Pixels | Reject]]:
    """Position, and image and mask or why there are none, of some cells of a source."""
    for position in positions:
        try:
            image, mask = source.read(position)
            _check_crop(image, mask, description)
        except (RejectedCrop, *UNREADABLE) as error:
            reason = error.reason if isinstance(error, RejectedCrop) else "file cannot be read"
            detail = str(error) if isinstance(error, RejectedCrop) else str(error.strerror)
            yield position, Reject(reason, "", source.files(position), detail)
        else:
            yield position, (image, mask)


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
