"""Microscopy of tagged proteins in, functional maps of proteins out.

Names are imported when they are first used, so that `import deeploc_tf` imports no TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tfrecords
from deeploc_tf.extras import INSTALL_AGAIN
from deeploc_tf.version import __version__

if TYPE_CHECKING:
    from deeploc_tf.benchmark.compare import compare
    from deeploc_tf.benchmark.identifiers import read_identifiers
    from deeploc_tf.benchmark.neighbors import neighbors
    from deeploc_tf.benchmark.read_standards import read_standards, standards
    from deeploc_tf.benchmark.results import Comparison
    from deeploc_tf.benchmark.scores import Extent
    from deeploc_tf.benchmark.standards import Standard, read_standard
    from deeploc_tf.benchmark.suite_scores import check_suite_scores, score_suite
    from deeploc_tf.embedding.embed import embed
    from deeploc_tf.explanation.activation_maximization import activation_maximization
    from deeploc_tf.explanation.explain import explain
    from deeploc_tf.explanation.integrated_gradients import integrated_gradients
    from deeploc_tf.features.measure import measure
    from deeploc_tf.ingest import plan_records
    from deeploc_tf.ingest.build_records import build_records
    from deeploc_tf.ingest.convert import convert
    from deeploc_tf.installation import doctor
    from deeploc_tf.lineage.replay import replay
    from deeploc_tf.lineage.trace import trace
    from deeploc_tf.lineage.verify import verify
    from deeploc_tf.models.deeploc import DeepLoc
    from deeploc_tf.models.extractors import feature_extractor
    from deeploc_tf.models.trained import load_trained
    from deeploc_tf.pipeline.batches import batches, training_batches
    from deeploc_tf.profiles.change import ChangeSettings, change
    from deeploc_tf.profiles.fitting import TransformSettings
    from deeploc_tf.profiles.profile import ProfileSettings, profile
    from deeploc_tf.profiles.space import nearest, read_space
    from deeploc_tf.profiles.tables import VectorTable, read_table, write_table
    from deeploc_tf.profiles.vector_transform import VectorTransform
    from deeploc_tf.report.calibration import reliability_diagram
    from deeploc_tf.report.crops import crop_sheet
    from deeploc_tf.report.curves import (
        average_precisions,
        confusion_matrix,
        precision_recall,
        training_curves,
    )
    from deeploc_tf.report.densities import density_map
    from deeploc_tf.report.explanation_page import write_explanation
    from deeploc_tf.report.function_curves import function_curves
    from deeploc_tf.report.label_page import write_label_page
    from deeploc_tf.report.label_table import write_label_table
    from deeploc_tf.report.map import protein_map
    from deeploc_tf.report.map_page import write_map
    from deeploc_tf.report.methods import methods_compared
    from deeploc_tf.report.run_page import write_report
    from deeploc_tf.serving.export import export
    from deeploc_tf.serving.open_model import open_model
    from deeploc_tf.serving.predict import predict
    from deeploc_tf.simulation.simulate import Screen, simulate
    from deeploc_tf.sources import (
        CellTable,
        DeepLocHDF5Source,
        FieldSource,
        FieldTable,
        FolderSource,
        LabelDictionarySource,
        Source,
        SourceError,
        TableSource,
        read_image,
    )
    from deeploc_tf.sources.quality import Quality
    from deeploc_tf.study.demo import demo
    from deeploc_tf.study.study import run_study
    from deeploc_tf.training.config import FitConfig
    from deeploc_tf.training.evaluate import evaluate
    from deeploc_tf.training.fit import fit
    from tfrecords.inspect import summarize

# PyPI has an unrelated distribution whose package is called `tfrecords` too
if "read_manifest" not in getattr(tfrecords, "__all__", ()):
    msg = (
        "The package `tfrecords` must be the one that comes with deeploc-tf. Received: "
        f"{getattr(tfrecords, '__file__', None)}, which is not. Mend it: pip uninstall tfrecords, "
        f"then {INSTALL_AGAIN}."
    )
    # The console script, and `python -m deeploc_tf`, import this before they can catch anything.
    if sys.argv[0] == "-m" or Path(sys.argv[0]).stem.startswith("deeploc-tf"):
        sys.exit(f"Error: {msg}")
    raise ImportError(msg)

# What is public; everything else may change without notice. docs/api.md shows it in this order.
MODULES = {
    "deeploc_tf.simulation.simulate": (
        "Screen",
        "simulate",
    ),
    "deeploc_tf.sources": (
        "CellTable",
        "DeepLocHDF5Source",
        "FieldSource",
        "FieldTable",
        "FolderSource",
        "LabelDictionarySource",
        "Source",
        "SourceError",
        "TableSource",
        "read_image",
    ),
    "deeploc_tf.ingest": (
        "Quality",
        "build_records",
        "plan_records",
    ),
    "deeploc_tf.ingest.convert": ("convert",),
    "tfrecords.inspect": ("summarize",),
    "deeploc_tf.pipeline.batches": (
        "batches",
        "training_batches",
    ),
    "deeploc_tf.models.deeploc": ("DeepLoc",),
    "deeploc_tf.models.extractors": ("feature_extractor",),
    "deeploc_tf.models.trained": ("load_trained",),
    "deeploc_tf.training.config": ("FitConfig",),
    "deeploc_tf.training.fit": ("fit",),
    "deeploc_tf.training.evaluate": ("evaluate",),
    "deeploc_tf.embedding.embed": ("embed",),
    "deeploc_tf.features.measure": ("measure",),
    "deeploc_tf.profiles.tables": (
        "VectorTable",
        "read_table",
        "write_table",
    ),
    "deeploc_tf.profiles.fitting": ("TransformSettings",),
    "deeploc_tf.profiles.vector_transform": ("VectorTransform",),
    "deeploc_tf.profiles.profile": (
        "ProfileSettings",
        "profile",
    ),
    "deeploc_tf.profiles.change": (
        "ChangeSettings",
        "change",
    ),
    "deeploc_tf.profiles.space": (
        "nearest",
        "read_space",
    ),
    "deeploc_tf.benchmark.standards": (
        "Standard",
        "read_standard",
    ),
    "deeploc_tf.benchmark.read_standards": (
        "read_standards",
        "standards",
    ),
    "deeploc_tf.benchmark.identifiers": ("read_identifiers",),
    "deeploc_tf.benchmark.neighbors": ("neighbors",),
    "deeploc_tf.benchmark.compare": ("compare",),
    "deeploc_tf.benchmark.suite_scores": (
        "check_suite_scores",
        "score_suite",
    ),
    "deeploc_tf.benchmark.scores": ("Extent",),
    "deeploc_tf.benchmark.results": ("Comparison",),
    "deeploc_tf.explanation.explain": ("explain",),
    "deeploc_tf.explanation.activation_maximization": ("activation_maximization",),
    "deeploc_tf.explanation.integrated_gradients": ("integrated_gradients",),
    "deeploc_tf.report.curves": (
        "training_curves",
        "confusion_matrix",
        "precision_recall",
        "average_precisions",
    ),
    "deeploc_tf.report.calibration": ("reliability_diagram",),
    "deeploc_tf.report.methods": ("methods_compared",),
    "deeploc_tf.report.function_curves": ("function_curves",),
    "deeploc_tf.report.map": ("protein_map",),
    "deeploc_tf.report.densities": ("density_map",),
    "deeploc_tf.report.crops": ("crop_sheet",),
    "deeploc_tf.report.map_page": ("write_map",),
    "deeploc_tf.report.label_page": ("write_label_page",),
    "deeploc_tf.report.label_table": ("write_label_table",),
    "deeploc_tf.report.run_page": ("write_report",),
    "deeploc_tf.report.explanation_page": ("write_explanation",),
    "deeploc_tf.serving.export": ("export",),
    "deeploc_tf.serving.open_model": ("open_model",),
    "deeploc_tf.serving.predict": ("predict",),
    "deeploc_tf.study.study": ("run_study",),
    "deeploc_tf.study.demo": ("demo",),
    "deeploc_tf.lineage.verify": ("verify",),
    "deeploc_tf.lineage.trace": ("trace",),
    "deeploc_tf.lineage.replay": ("replay",),
    "deeploc_tf.installation": ("doctor",),
}
_MODULE_OF = {name: module for module, names in MODULES.items() for name in names}

__all__ = [
    "CellTable",
    "ChangeSettings",
    "Comparison",
    "DeepLoc",
    "DeepLocHDF5Source",
    "Extent",
    "FieldSource",
    "FieldTable",
    "FitConfig",
    "FolderSource",
    "LabelDictionarySource",
    "ProfileSettings",
    "Quality",
    "Screen",
    "Source",
    "SourceError",
    "Standard",
    "TableSource",
    "TransformSettings",
    "VectorTable",
    "VectorTransform",
    "__version__",
    "activation_maximization",
    "average_precisions",
    "batches",
    "build_records",
    "change",
    "check_suite_scores",
    "compare",
    "confusion_matrix",
    "convert",
    "crop_sheet",
    "demo",
    "density_map",
    "doctor",
    "embed",
    "evaluate",
    "explain",
    "export",
    "feature_extractor",
    "fit",
    "function_curves",
    "integrated_gradients",
    "load_trained",
    "measure",
    "methods_compared",
    "nearest",
    "neighbors",
    "open_model",
    "plan_records",
    "precision_recall",
    "predict",
    "profile",
    "protein_map",
    "read_identifiers",
    "read_image",
    "read_space",
    "read_standard",
    "read_standards",
    "read_table",
    "reliability_diagram",
    "replay",
    "run_study",
    "score_suite",
    "simulate",
    "standards",
    "summarize",
    "trace",
    "training_batches",
    "training_curves",
    "verify",
    "write_explanation",
    "write_label_page",
    "write_label_table",
    "write_map",
    "write_report",
    "write_table",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
