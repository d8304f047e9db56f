"""`deeploc-tf change`: which proteins moved between two screens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, note
from deeploc_tf.cli.parameters import (
    FILE,
    Names,
    Output,
    allow_unmatched_option,
    distinct_case_option,
    json_option,
    number_option,
    overwrite_option,
    role_options,
    seed_option,
    settings_of,
)

if TYPE_CHECKING:
    from deeploc_tf.profiles.change import Changes

EPILOG = """\b
Examples:
  deeploc-tf change untreated.parquet treated.parquet changes.csv --replicate field
  deeploc-tf change untreated.h5 treated.h5 changes.tsv --replicate plate --fdr 0.01
  deeploc-tf change untreated.h5 treated.h5 changes.csv --replicate field --by plate --json
"""

_SHOWN = 10


COMMON = (
    *("--protein", "--replicate", "--by", "--components", "--fdr", "--permutations"),
    *("--drop-undefined", "--seed", "--json"),
)


@click.command(cls=Command, common=COMMON, epilog=EPILOG)
@click.argument("untreated", type=FILE)
@click.argument("treated", type=FILE)
@click.argument("output", type=Output(suffix=".csv"))
@role_options
@click.option(
    "--replicate",
    type=Names(),
    default=(),
    help="Columns that define a replicate, such as field; its cells are averaged first, and the "
    "means are permuted. Columns above them, such as plate, are included. Without it, single cells "
    "are permuted as if those of one image were independent.",
)
@click.option(
    "--by",
    type=Names(),
    default=(),
    help="Columns that define a batch, such as plate; the shift that all its proteins share is "
    "removed.",
)
@number_option(
    *("--components", "num_components"),
    least=1,
    help="Number of principal components to keep.  [default: all features, or as many components "
    "as the number of vectors allows]",
)
@number_option(
    *("--dimensions", "num_dimensions"),
    least=1,
    default=32,
    help="Number of dimensions of the space in which moves are tested.",
)
@click.option(
    "--fdr",
    "false_discovery_rate",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="False discovery rate: expected fraction of false ones among the moved proteins.",
)
@number_option(
    *("--permutations", "num_permutations"),
    least=20,
    default=200,
    help="Number of permutations for the p-values.",
)
@click.option(
    "--no-bulk",
    is_flag=True,
    help="Skip the correction of the null distribution for inflation, which the bulk of the "
    "proteins shows.",
)
@click.option("--drop-undefined", is_flag=True, help="Leave out rows with NaN or infinity.")
@distinct_case_option
@allow_unmatched_option("proteins that are in one screen only", None)
@seed_option
@overwrite_option
@json_option
def change(
    untreated: Path,
    treated: Path,
    output: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Test which proteins moved between the screens UNTREATED and TREATED.

    Both are tables (.h5, .parquet, .npz, .h5ad or text) of cells, embedded by one model, or of
    profiles with several rows per protein, its replicates. The result is written to OUTPUT (.csv or
    .tsv), the summary to NAME.json next to it. The page "Profiles,
    neighbors, change" of the documentation describes the test.
    """
    from deeploc_tf.profiles.change import ChangeSettings
    from deeploc_tf.profiles.change import change as compare
    from deeploc_tf.profiles.tables import Roles

    given["correct_bulk"] = not given["no_bulk"]
    settings, roles = settings_of(ChangeSettings, given), settings_of(Roles, given)
    found = compare(untreated, treated, output, settings, roles=roles)
    for sentence in _notes(found):
        note(sentence)
    answer(found.summary, _lines(found, output), as_json=as_json)


def _lines(found: Changes, output: Path) -> Iterator[str]:
    """How many moved, and the first of them."""
    number = found.summary["proteins"]
    if found.summary["moved"] is None:
        yield (f"{output}: distances of {number} proteins, without p-values")
        yield (found.table[["protein", "distance"]].head(_SHOWN).to_string(index=False))
        return
    yield (f"{output}: {found.summary['moved']} of {number} proteins moved")
    moved = found.table[found.table["moved"]]
    shown = moved[["protein", "distance", "z_score", "q_value"]].head(_SHOWN)
    if len(shown):
        yield (shown.to_string(index=False, float_format="{:.3g}".format))
    if len(moved) > _SHOWN:
        yield (f"... {len(moved) - _SHOWN} more")


def _notes(found: Changes) -> list[str]:
    """Sentences on what was left out, and on how far the screens differ as a whole."""
    words = {
        "only_untreated": "only in the untreated screen",
        "only_treated": "only in the treated screen",
        "too_few": "with one vector in a screen",
    }
    notes = []
    for which in found.summary["screens"].values():
        reasons = {
            "undefined": "are not finite",
            "without_protein": "name no protein",
            "without_group": f"have no value of {', '.join(found.summary['settings']['by'])}",
            "without_replicate": f"have no value of {', '.join(which['replicate_columns'])}",
        }
        notes += [
            f"{which['file']}: {count} rows {reasons[reason]} and were left out."
            for reason, count in which["rows_left_out"].items()
            if count
        ]
    for reason, names in found.summary["left_out"].items():
        if names:
            shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
            notes.append(f"{len(names)} proteins are {words[reason]} and were left out: {shown}.")
    if found.summary["moved"] is None:
        notes.append(
            "Each protein has one row in each screen, so nothing tells how much rows of one "
            "protein differ: distances are in spreads of the differences over all proteins, "
            "without p-values. Bring two replicates or more of each protein in each screen for "
            "a test."
        )
        return notes
    inflation, width = found.summary["bulk_inflation"], found.summary["bulk_width"]
    if inflation > 1.25 or width > 1.25:
        notes.append(
            "The screens differ in more than their replicates do: the median statistic is "
            f"{inflation:.2f} times that of the permutations, and z-scores are {width:.2f} times "
            "as wide. Both were taken off; p-values are as good as this correction is."
        )
    return notes
