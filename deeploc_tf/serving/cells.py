"""The cells of a source and what is known of each, in the columns that `predict` writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deeploc_tf.serving.description import Description
from deeploc_tf.sources import Source, SourceError
from deeploc_tf.sources.source import UNREADABLE, Pixels, Reject, RejectedCrop
from deeploc_tf.text_tables import read_table, require_column
from tfrecords.errors import SchemaError

_OURS = ("folder", "call", "confidence")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where the protein and the well of a cell stand.

    Attributes:
        protein: column of the protein; None: `protein`, where there is one.
        well: column of the well; None: `well`, where there is one.
        plate_map: table of what is in each well; columns that it shares with the cells (well, and
            perhaps plate) join it, the others are added.
    """

    protein: str | None = None
    well: str | None = None
    plate_map: Path | None = None

    def table(self, source: Source, folder: str) -> pd.DataFrame:
        """One row a cell: `key`, `folder` if it has a name, `protein`, `well`, then the rest.

        Raises:
            SourceError: a key is there twice, a column is missing or has a name of ours, or the
                plate map does not fit.
        """
        frame = source.index()
        if not frame["key"].is_unique:
            twice = frame["key"][frame["key"].duplicated()].iloc[0]
            msg = f"Every cell must have a key of its own. Received: {twice!r} twice."
            raise SourceError(msg)
        if self.plate_map is not None:
            frame = _joined(frame, self.plate_map)
        for ours, theirs in (("protein", self.protein), ("well", self.well)):
            if theirs is not None:
                require_column(frame.columns, theirs, f"The column of the {ours}")
                frame[ours] = frame[theirs]
            elif ours not in frame.columns:
                frame[ours] = ""
        if taken := [n for n in frame if n in _OURS or str(n).startswith("probability_")]:
            msg = (
                f"Columns of cells must not have names of the output. Received: {taken}. Rename "
                "them in the table or the pattern."
            )
            raise SourceError(msg)
        if folder:
            frame["key"] = f"{folder}/" + frame["key"].astype(str)
            frame["folder"] = folder
        first = ["key", *(["folder"] if folder else []), "protein", "well"]
        rest = [name for name in frame.columns if name not in first]
        return frame[first + rest]


def _joined(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The cells with the columns of a plate map."""
    wells = read_table(path).astype(str)
    shared = [name for name in wells.columns if name in frame.columns]
    if not shared:
        msg = (
            "A plate map must share a column with the cells. Received: "
            f"{', '.join(map(str, wells.columns))} in {path.name}, the cells have "
            f"{', '.join(map(str, frame.columns))}. Name the well in the pattern, as {{well}}."
        )
        raise SourceError(msg)
    if (twice := wells.duplicated(shared)).any():
        row = ", ".join(wells.loc[twice, shared].iloc[0])
        msg = f"A plate map must name each well once. Received: {row!r} twice in {path.name}."
        raise SourceError(msg)
    keys = [frame[name].astype(str) for name in shared]
    at = pd.MultiIndex.from_frame(wells[shared]).get_indexer(pd.MultiIndex.from_arrays(keys))
    if not (at >= 0).any():
        msg = (
            "A plate map must have the wells of the cells. Received: none of them in "
            f"{path.name}, such as {', '.join(key.iloc[0] for key in keys)!r}."
        )
        raise SourceError(msg)
    for name in wells.columns.difference(shared, sort=False):
        frame[name] = np.where(at >= 0, wells[name].to_numpy()[at], "")
    return frame


def check_source(source: Source, description: Description) -> list[str]:
    """Refuse channels that the model was not made for; return sentences about lesser differences.

    Raises:
        SchemaError: channels differ, or their order.
    """
    if tuple(source.channels) != description.channels:
        msg = (
            "Fields must have the channels of the model, in its order. Received: "
            f"channels={tuple(source.channels)}, the model has {description.channels}. Name them "
            "with `channels` (--channels)."
        )
        raise SchemaError(msg)
    ours, theirs = description.pixel_size, getattr(source, "pixel_size", None)
    if ours is not None and theirs is not None and not np.isclose(ours, theirs):
        return [
            f"The pixel size of the fields ({theirs:g}) is not that of the training ({ours:g}); "
            "calls may not be comparable."
        ]
    return []


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
