"""`deeploc-tf study`: every method of a study, compared on one page."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer, quiet_option
from deeploc_tf.cli.parameters import FILE, json_option, workers_option
from deeploc_tf.cli.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    import pandas as pd

    from deeploc_tf.study.config import StudyConfig

EPILOG = """\b
Examples:
  deeploc-tf study --example small > study.yaml
  deeploc-tf study study.yaml OUT --dry-run
  deeploc-tf study study.yaml OUT --workers 8
Stopped? The same command goes on. The page "The study" of the documentation
explains the keys of CONFIG.
"""


def _print_example(context: click.Context, _: click.Parameter, name: str | None) -> None:
    """Print settings that lie in the package, and leave."""
    if name is not None and not context.resilient_parsing:
        import deeploc_tf.study

        file = importlib.resources.files(deeploc_tf.study) / "examples" / f"{name}.yaml"
        click.echo(file.read_text("utf-8"), nl=False)
        context.exit()


@click.command(cls=Command, epilog=EPILOG)
@click.argument("config", type=FILE)
@click.argument("output", metavar="OUT", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--example",
    type=click.Choice(["small"]),
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print the settings of an example, of some minutes on two cores, and exit.",
)
@workers_option
@click.option("--dry-run", is_flag=True, help="Show what would be written, without writing it.")
@quiet_option
@json_option
def study(
    config: Path, output: Path, workers: int, dry_run: bool, quiet: bool, as_json: bool
) -> int:
    """Compare the methods that CONFIG (YAML) names, and write tables and a page to OUT.

    Runs what is missing: simulated cells, records, trainings, features, scores. Each step is kept
    in OUT/steps and made again only if what it depends on has changed, or its files are damaged.
    """
    from deeploc_tf.study.config import read_study

    settings = read_study(config)  # what is wrong with it is said before TensorFlow has started
    if dry_run:
        values = _forecast(settings, output)
        answer(values, _forecast_lines(values), as_json=as_json)
        return 0
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


def _forecast(settings: StudyConfig, output: Path) -> dict[str, Any]:
    """What a study would do, as far as its settings say it."""
    methods = {name: method.kind for name, method in settings.candidates.items()}
    return {
        "path": output,
        "title": settings.title,
        "data": settings.data.kind,
        "seeds": settings.seeds,
        "methods": methods,
        "num_trainings": len(settings.seeds) * list(methods.values()).count("network"),
        "num_steps_done": len(list(output.glob("steps/*/step.json"))),
    }


def _forecast_lines(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"Would write {values['path']}: {values['title']}"
    for name, kind in values["methods"].items():
        yield f"  {name}  ({kind.replace('_', ' ')})"
    seeds = ", ".join(map(str, values["seeds"]))
    yield (
        f"At most {values['num_trainings']} trainings (seeds {seeds}); "
        f"{values['num_steps_done']} steps of any study are there already."
    )


def _table(summary: pd.DataFrame) -> str:
    """Average precision by method and standard."""
    rows = summary[summary["score"] == "average_precision"]
    wide = rows.pivot_table(index="method", columns="standard", values="mean", sort=False)
    lines = wide.round(4).to_string(header=True, index_names=False)
    return f"Average precision, mean over seeds\n{lines}"
