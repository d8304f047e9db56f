"""`deeploc-tf export`: a run into a SavedModel."""

from __future__ import annotations

from pathlib import Path

import click

from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf export RUN SAVEDMODEL
  saved_model_cli show --all --dir SAVEDMODEL
"""


@click.command(epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("savedmodel", type=click.Path(path_type=Path))
@click.option("--layer", default="fc_2", show_default=True, help="Layer of the embedding.")
def export(run: Path, savedmodel: Path, layer: str) -> None:
    """Write the model in RUN as a TensorFlow SavedModel that takes raw crops.

    It carries its preprocessing and needs nothing but TensorFlow. Signatures: serving_default,
    classify, embed, describe.
    """
    start_tensorflow()
    from deeploc_tf.serving.export import export as export_run

    click.echo(
        f"{export_run(run, savedmodel, layer=layer)}: serving_default, classify, embed, describe"
    )
