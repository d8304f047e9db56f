"""The command line: `deeploc-tf`, `python -m deeploc_tf` and `python cli.py` are the same.

Nothing heavier than click is imported here or at the top of a command's file, so that `--help`
answers at once.
"""

from __future__ import annotations

import os

import click

from deeploc_tf.cli.group import LazyGroup
from deeploc_tf.version import __version__

COMMANDS = {
    "build-records": "deeploc_tf.cli.build_records:build_records",
    "inspect": "deeploc_tf.cli.inspect:inspect",
    "verify": "deeploc_tf.cli.verify:verify",
    "fit": "deeploc_tf.cli.fit:fit",
    "evaluate": "deeploc_tf.cli.evaluate:evaluate",
    "embed": "deeploc_tf.cli.embed:embed",
    "measure": "deeploc_tf.cli.measure:measure",
    "profile": "deeploc_tf.cli.profile:profile",
    "neighbors": "deeploc_tf.cli.neighbors:neighbors",
    "change": "deeploc_tf.cli.change:change",
    "export": "deeploc_tf.cli.export:export",
    "predict": "deeploc_tf.cli.predict:predict",
    "standards": "deeploc_tf.cli.standards:standards",
    "benchmark": "deeploc_tf.cli.benchmark:benchmark",
    "simulate": "deeploc_tf.cli.simulate:simulate",
    "study": "deeploc_tf.cli.study:study",
    "demo": "deeploc_tf.cli.demo:demo",
    "doctor": "deeploc_tf.cli.doctor:doctor",
}

EPILOG = """\b
Examples:
  deeploc-tf demo DEMO
  deeploc-tf build-records CROPS RECORDS --label protein --test field=4 \\
      --pattern '{protein}/{protein}_{field}_{cell}_{channel}.tif' --channels gfp,rfp
  deeploc-tf inspect RECORDS
  deeploc-tf fit RECORDS RUN
  deeploc-tf embed RUN RECORDS cells.parquet
  deeploc-tf benchmark cells.profiles.parquet complexes.gmt RESULTS
"""


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    name="deeploc-tf",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="deeploc-tf")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """From single-cell crops to records, a DeepLoc network, and vectors of cells and proteins."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow, in every command
    if isinstance(context.command, LazyGroup):
        context.command.debug = debug
