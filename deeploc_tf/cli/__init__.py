"""The command line: `deeploc-tf`, `python -m deeploc_tf` and `python cli.py` are the same.

Nothing heavier than click is imported here or at the top of a command's file, so that `--help`
answers at once.
"""

from __future__ import annotations

import os

import click

from deeploc_tf.cli.group import Lazy, LazyGroup
from deeploc_tf.cli.messages import quiet_alone_option, verbose_option
from deeploc_tf.version import __version__

COMMANDS = {
    "build-records": Lazy(
        "deeploc_tf.cli.build_records:build_records",
        "Build a data set of records from images of single cells.",
        ("ingest", "prepare", "records"),
    ),
    "convert": Lazy(
        "deeploc_tf.cli.convert:convert",
        "Convert files published with DeepLoc or PIFiA to records.",
        ("import",),
    ),
    "inspect": Lazy(
        "deeploc_tf.cli.inspect:inspect",
        "Show the shape, channels and counts of a data set.",
        ("info", "show"),
    ),
    "verify": Lazy(
        "deeploc_tf.cli.verify:verify",
        "Check that what deeploc-tf wrote is as it was written.",
        ("check", "validate"),
    ),
    "trace": Lazy(
        "deeploc_tf.cli.trace:trace", "Show what a file was made from, back to the pixels."
    ),
    "label": Lazy(
        "deeploc_tf.cli.label:label",
        "Write a page to label crops on, or labels by a standard.",
        ("annotate",),
    ),
    "fit": Lazy("deeploc_tf.cli.fit:fit", "Train a network on a data set.", ("train", "learn")),
    "evaluate": Lazy(
        "deeploc_tf.cli.evaluate:evaluate", "Measure a trained model on a data set.", ("test",)
    ),
    "embed": Lazy(
        "deeploc_tf.cli.embed:embed",
        "Write the vectors of all cells and the profiles of proteins.",
        ("extract", "encode"),
    ),
    "measure": Lazy(
        "deeploc_tf.cli.measure:measure",
        "Write classic features of all cells, without a network.",
        ("features",),
    ),
    "profile": Lazy(
        "deeploc_tf.cli.profile:profile",
        "Aggregate vectors of cells into profiles of proteins.",
        ("aggregate", "average"),
    ),
    "neighbors": Lazy(
        "deeploc_tf.cli.neighbors:neighbors",
        "List the proteins or cells that are most similar.",
        ("search", "similar"),
    ),
    "map": Lazy(
        "deeploc_tf.cli.map:map",
        "Draw proteins as an interactive page, in one offline file.",
        ("umap", "tsne", "plot"),
    ),
    "change": Lazy(
        "deeploc_tf.cli.change:change",
        "Test which proteins moved between two screens.",
        ("compare", "diff"),
    ),
    "export": Lazy(
        "deeploc_tf.cli.export:export",
        "Export a trained model as a TensorFlow SavedModel.",
        ("save", "serve"),
    ),
    "predict": Lazy(
        "deeploc_tf.cli.predict:predict",
        "Classify the localization of every cell in whole fields.",
        ("classify", "localize", "infer"),
    ),
    "standards": Lazy(
        "deeploc_tf.cli.standards:standards",
        "Show what gold standards contain, or convert them to GMT.",
    ),
    "benchmark": Lazy(
        "deeploc_tf.cli.benchmark:benchmark", "Score profiles against gold standards.", ("score",)
    ),
    "report": Lazy("deeploc_tf.cli.report:report", "Write a page about a trained model."),
    "explain": Lazy(
        "deeploc_tf.cli.explain:explain",
        "Show what a trained model looks at, on one page.",
        ("saliency",),
    ),
    "simulate": Lazy(
        "deeploc_tf.cli.simulate:simulate", "Simulate a screen of budding yeast.", ("generate",)
    ),
    "study": Lazy("deeploc_tf.cli.study:study", "Compare methods as a YAML file describes."),
    "demo": Lazy(
        "deeploc_tf.cli.demo:demo", "Run every step on a simulated screen; ends in a page to open."
    ),
    "doctor": Lazy(
        "deeploc_tf.cli.doctor:doctor", "Show versions, settings and devices, and report problems."
    ),
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

Exit codes: 0 done, 1 failed (or a problem found), 2 wrong usage, 3 out of
memory, 75 stopped but resumable, 130 and 143 interrupted.

\b
Completion:
  eval "$(_DEEPLOC_TF_COMPLETE=bash_source deeploc-tf)"   # or zsh_source
  _DEEPLOC_TF_COMPLETE=fish_source deeploc-tf | source
"""


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    name="deeploc-tf",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@quiet_alone_option
@verbose_option
@click.version_option(__version__, prog_name="deeploc-tf")
@click.pass_context
def main(context: click.Context, debug: bool) -> None:
    """Turn images of single cells into vectors of cells and functional maps of proteins."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow, in every command
    if isinstance(context.command, LazyGroup):
        context.command.debug = debug
