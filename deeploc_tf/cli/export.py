"""`deeploc-tf export`: a run into a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import (
    Output,
    device_option,
    fast_option,
    json_option,
    layer_option,
    overwrite_option,
    test_time_option,
)
from deeploc_tf.cli.tensorflow_start import start_tensorflow

EPILOG = """\b
Examples:
  deeploc-tf export RUN MODEL
  deeploc-tf export RUN MODEL --layer fc_1 --test-time crops
  saved_model_cli show --all --dir MODEL/1
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("model", type=Output())
@layer_option
@test_time_option
@fast_option
@device_option
@overwrite_option
@json_option
def export(run: Path, model: Path, as_json: bool, **options: Any) -> None:
    """Export the model in RUN as a TensorFlow SavedModel that takes raw crops.

    Preprocessing is part of the model, which needs only TensorFlow to run. The new folder MODEL has
    the layout of TensorFlow Serving: the SavedModel is MODEL/1, and MODEL/README.md describes it.
    The signatures are serving_default, classify, embed, serialized and describe.
    """
    start_tensorflow()
    from deeploc_tf.serving.export import export as export_run

    version = export_run(run, model, **options)
    signatures = ("serving_default", "classify", "embed", "serialized", "describe")
    values = {"path": version, "signatures": signatures}
    answer(values, [f"{version}: {', '.join(signatures)}"], as_json=as_json)
