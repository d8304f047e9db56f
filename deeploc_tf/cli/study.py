"""`deeploc-tf study`: every method of a study, compared on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import FILE, json_option, workers_option
from deeploc_tf.cli.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import pandas as pd

EPILOG = """\b
Examples:
  deeploc-tf study docs/study-small.yaml OUT
  deeploc-tf study study.yaml OUT --workers 8
Stopped? The same command goes on. docs/study.md has the keys of CONFIG.
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("config", type=FILE)
@click.argument("output", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@workers_option
@quiet_option
@json_option
def study(config: Path, output: Path, workers: int, quiet: bool, as_json: bool) -> int:
    """Compare the methods that CONFIG (YAML) names, and write tables and a page to OUT.

    Runs what is missing: simulated cells, records, trainings, features, scores. Each step is kept
    in OUT/steps and made again only if what it depends on has changed, or its files are damaged.
    """
    from deeploc_tf.study.config import read_study

    read_study(config)  # what is wrong with it is said before TensorFlow has started
    start_tensorflow()
    from deeploc_tf.cli.group import RESUMABLE, noting_termination
    from deeploc_tf.cli.messages import tell
    from deeploc_tf.study.study import run_study
    from deeploc_tf.training.state import TrainingStoppedError

    try:
        with noting_termination() as terminated:
            done = run_study(
                config,
                output,
                workers=workers,
                progress=not quiet,
                should_stop=terminated,
            )
    except TrainingStoppedError as stop:
        tell(str(stop))
        return RESUMABLE
    values = {
        "page": done.page,
        "folder": done.folder,
        "summary": done.summary.to_dict("records"),
    }
    lines = [
        _table(done.summary),
        f"{output}: scores.csv, summary.csv, curves.csv, figure, map",
        f"The page: {done.page.resolve().as_uri()}",
    ]
    answer(values, lines, as_json=as_json)
    return 0


def _table(summary: pd.DataFrame) -> str:
    """Average precision by method and standard."""
    rows = summary[summary["score"] == "average_precision"]
    wide = rows.pivot_table(index="method", columns="standard", values="mean", sort=False)
    lines = wide.round(4).to_string(header=True, index_names=False)
    return f"Average precision, mean over seeds\n{lines}"
