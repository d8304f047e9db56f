"""`deeploc-tf profile`: a table of cells into a table of proteins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note, quiet_option
from deeploc_tf.cli.parameters import (
    FILE,
    LazyChoice,
    Names,
    Output,
    Pair,
    distinct_case_option,
    json_option,
    memory_option,
    number_option,
    overwrite_option,
    role_options,
    seed_option,
    settings_of,
)

if TYPE_CHECKING:
    from deeploc_tf.profiles.profile import Profiled

EPILOG = """\b
Examples:
  deeploc-tf profile cells.parquet profiles.parquet --statistic median --min-cells 20
  deeploc-tf profile cells.h5 profiles.h5 --normalize mad --by plate \\
      --controls protein=CTRL --sphere --save transform.npz
  deeploc-tf profile plate1.parquet wells.parquet --protein Metadata_gene --summarize-by well
  deeploc-tf profile new.h5 new-profiles.h5 --transform transform.npz --fit-new-groups
"""


COMMON = (
    *("--protein", "--summarize-by", "--statistic", "--min-cells", "--replicate", "--normalize"),
    *("--by", "--controls", "--sphere", "--components", "--save", "--transform"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("cells", type=FILE)
@click.argument("output", type=Output())
@role_options
@click.option(
    "--summarize-by",
    type=Names(),
    default=(),
    help="Columns that define a group, such as well or compound; one profile is written per "
    "group. Columns above them, such as plate, are included.  [default: protein]",
)
@click.option(
    *("--statistic", "method"),
    type=LazyChoice("deeploc_tf.profiles.choices:Method"),
    default="mean",
    show_default=True,
    help="Statistic that summarizes the cells of a group.",
)
@number_option(
    "--min-cells", least=1, default=1, help="Leave out proteins with fewer cells than this."
)
@click.option(
    "--replicate",
    type=Names(),
    default=(),
    help="Columns that define a replicate, such as field; its cells are averaged first. Columns "
    "above them, such as plate, are included.",
)
@click.option(
    "--normalize",
    type=LazyChoice("deeploc_tf.profiles.choices:NormalizationKind"),
    help="Normalize each feature by its mean; by mean and standard deviation; or by median and "
    "MAD.",
)
@click.option(
    "--by",
    type=Names(),
    default=(),
    help="Columns that define a batch, such as plate; each is normalized on its own.",
)
@click.option(
    "--controls",
    type=Pair("COLUMN=VALUE"),
    help="Controls: rows on which the transform is fitted, such as protein=CTRL.  [default: all]",
)
@click.option("--sphere", is_flag=True, help="Sphere the features (ZCA whitening).")
@number_option(
    *("--components", "num_components"), least=1, help="Number of principal components to keep."
)
@click.option(
    "--regularization",
    type=click.FloatRange(min=0),
    default=1e-3,
    show_default=True,
    help="Regularization of --sphere, relative to the mean variance; 0 for none.",
)
@click.option("--save", type=Output(), help="Save the fitted transform to this file (.npz).")
@click.option(
    "--transform", type=FILE, help="Apply a transform that --save wrote, in place of fitting one."
)
@click.option(
    "--fit-new-groups",
    is_flag=True,
    help="With --transform: fit shift and scale anew for groups that it has not seen.",
)
@click.option(
    *("--write-intervals", "intervals"),
    is_flag=True,
    help="Write 95% confidence intervals to NAME.low and NAME.high.",
)
@number_option(
    *("--resamples", "num_resamples"),
    default=0,
    help="Number of bootstrap resamples for standard errors of statistics other than the mean; 0 "
    "for no errors.",
)
@click.option("--drop-undefined", is_flag=True, help="Leave out rows with NaN or infinity.")
@memory_option("4GB")
@distinct_case_option
@seed_option
@quiet_option
@overwrite_option
@json_option
def profile(
    cells: Path,
    output: Path,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Write a profile of each protein in CELLS, a table of `embed` or `measure`, to OUTPUT.

    CELLS may be .h5, .parquet, .npz, .h5ad or text; tables of other programs (pycytominer,
    CytoTable, AnnData, pandas) may be Parquet, .h5ad or text. Cells are transformed first, then
    summarized per protein. OUTPUT (.h5, .parquet, .npz or .h5ad) has the number of cells, their
    dispersion and the standard error of each profile. The page
    "Profiles, neighbors, change" of the documentation has the formulas.
    """
    from deeploc_tf.profiles.fitting import TransformSettings
    from deeploc_tf.profiles.profile import ProfileSettings
    from deeploc_tf.profiles.profile import profile as make_profiles
    from deeploc_tf.profiles.tables import Roles

    settings = settings_of(ProfileSettings, given)
    written = make_profiles(
        cells,
        output,
        settings,
        fit=settings_of(TransformSettings, given),
        transform=given["transform"],
        save=given["save"],
        roles=settings_of(Roles, given),
        progress=not quiet,
    )
    for sentence in _notes(written, settings.min_cells):
        note(sentence)
    values = {
        field.name: getattr(written, field.name)
        for field in dataclasses.fields(written)
        if field.name not in ("table", "transform")
    }
    line = (
        f"{written.profiles}: {written.num_proteins} {_what(written)} of {written.num_cells} "
        f"cells, {written.num_features} features"
    )
    answer(values, [line], as_json=as_json)


def _what(written: Profiled) -> str:
    """What a row is of."""
    by = written.summarized_by
    return "proteins" if by == ("protein",) else f"groups by {', '.join(by)}"


def _notes(written: Profiled, min_cells: int) -> list[str]:
    """Sentences on what was left out, and on what a transform found."""
    found = []
    if written.num_undefined:
        found.append(f"{written.num_undefined} cells are not finite and were left out.")
    if written.num_without_protein:
        what = ", ".join(written.summarized_by)
        found.append(f"{written.num_without_protein} cells name no {what} and were left out.")
    if written.num_without_replicate:
        found.append(
            f"{written.num_without_replicate} cells have no value of "
            f"{', '.join(written.replicate_columns)} and were left out."
        )
    if written.too_few:
        shown = ", ".join(written.too_few[:3]) + (" ..." if len(written.too_few) > 3 else "")
        found.append(
            f"{len(written.too_few)} {_what(written)} have fewer than {min_cells} cells and were "
            f"left out: {shown}."
        )
    if written.transform is not None:
        found += written.transform.notes()
    return found
