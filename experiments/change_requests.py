"""How many files of the packages a change request touches: each is made in a copy of the tree.

    python experiments/change_requests.py

Parts are those of docs/extending.md, moved into the package. A change counts when the code that
follows it runs in the copy; what is counted is `git diff --stat` of `deeploc_tf` and `tfrecords`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")
PARTS = dict(re.findall(r"```python\n# ourlab/(\w+)\.py\n(.*?)```", _PAGE, re.DOTALL))

PARTS["denoising"] = '''"""Paired Cell Inpainting whose source cells are noisy."""

import tensorflow as tf

from deeploc_tf.training.inpainting import Inpainting


class Denoising(Inpainting):
    def batches(self, **where):
        return super().batches(**where).map(noisy)


def noisy(inputs, targets):
    image = tf.cast(inputs["image"], tf.float32)
    noise = tf.random.stateless_uniform(tf.shape(image), (0, 0), 0.9, 1.1)
    return {**inputs, "image": tf.cast(image * noise, inputs["image"].dtype)}, targets
'''


@dataclasses.dataclass(frozen=True)
class Request:
    """A change and how to see that it works.

    Attributes:
        title: of its row.
        files: path of a new file -> which part of the page it is.
        edits: path -> texts that stand in the file -> what is put in their place.
        check: code that must run in the copy.
    """

    title: str
    files: Mapping[str, str]
    edits: Mapping[str, Mapping[str, str]]
    check: str


_CHOICES, _TRAINING = "deeploc_tf/network_choices.py", "deeploc_tf/training/choices.py"
_TABLES, _SCORES = "deeploc_tf/profiles/tables/registry.py", "deeploc_tf/benchmark/scores.py"
_IMAGES = "deeploc_tf/sources/formats/registry.py"
_STANDARDS = "deeploc_tf/benchmark/formats/registry.py"
_RUN = "from deeploc_tf.training.config import FitConfig\n"

REQUESTS = (
    Request(
        "a format of image files",
        {"deeploc_tf/sources/formats/pgm.py": "images"},
        {
            _IMAGES: {
                "from deeploc_tf.sources.formats.png": "from deeploc_tf.sources.formats.pgm "
                "import PGM\nfrom deeploc_tf.sources.formats.png",
                '"NPY": NPY}': '"NPY": NPY, "PGM": PGM}',
            }
        },
        "from deeploc_tf.sources.formats.registry import format_of\nformat_of(b'P5 1 1 255 x')",
    ),
    Request(
        "a normalization",
        {"deeploc_tf/models/log.py": "networks"},
        {_CHOICES: {'"min-max":': '"log": "deeploc_tf.models.log:log",\n        "min-max":'}},
        _RUN + "FitConfig(normalization='log')\n"
        "from deeploc_tf.models.deeploc import DeepLoc\n"
        "DeepLoc((8, 8, 1), 2, normalization='log', dense_units=(4, 2))",
    ),
    Request(
        "a backbone",
        {"deeploc_tf/models/shallow.py": "networks"},
        {
            _CHOICES: {
                '    },\n    group="deeploc_tf.backbones"': "    }\n"
                '    | {"shallow": "deeploc_tf.models.shallow:shallow"},\n'
                '    group="deeploc_tf.backbones"'
            }
        },
        _RUN + "FitConfig(backbone='shallow')\n"
        "from deeploc_tf.models.deeploc import DeepLoc\n"
        "DeepLoc((8, 8, 1), 2, backbone='shallow', dense_units=(4, 2))",
    ),
    Request(
        "a loss",
        {"deeploc_tf/training/brier.py": "training"},
        {_TRAINING: {'"focal":': '"brier": "deeploc_tf.training.brier:BRIER",\n        "focal":'}},
        _RUN + "from deeploc_tf.training.objectives import make_loss\n"
        "assert type(make_loss(FitConfig(loss='brier'))).__name__ == 'Brier'",
    ),
    Request(
        "a second self-supervised method",
        {"deeploc_tf/training/denoising.py": "denoising"},
        {
            "deeploc_tf/training/tasks.py": {
                "_OURS = {": "DENOISING = Method(\n"
                '    "deeploc_tf.training.denoising:Denoising", INPAINTING.settings, '
                'INPAINTING.defaults\n)\n_OURS = {"denoising": DENOISING, ',
            }
        },
        _RUN + "assert FitConfig(method='denoising').epochs == 30\n"
        "from deeploc_tf.training.tasks import TASKS\nTASKS.get('denoising').load()",
    ),
    Request(
        "a score of the benchmark",
        {"deeploc_tf/benchmark/dimensions.py": "scores"},
        {
            _SCORES: {
                '"clusters":': '"dimensions": "deeploc_tf.benchmark.dimensions:DIMENSIONS",\n'
                '        "clusters":'
            }
        },
        "from deeploc_tf.benchmark.scores import columns, definitions\n"
        "assert 'dimensions' in columns() and 'dimensions' in definitions()",
    ),
    Request(
        "a format of standards",
        {"deeploc_tf/benchmark/formats/sets.py": "standards"},
        {
            _STANDARDS: {
                "from deeploc_tf.benchmark.formats.sgd_slim": "from "
                "deeploc_tf.benchmark.formats.sets import read_sets\n"
                "from deeploc_tf.benchmark.formats.sgd_slim",
                "_OURS = {\n": '_OURS = {\n    "sets": Format(read_sets, "term: its members", '
                'suffixes=(".sets",)),\n',
            },
            "deeploc_tf/benchmark/formats/sets.py": {
                "from deeploc_tf.benchmark.formats.registry import Format\n": "",
                '\n\nSETS = Format(read_sets, "term: its members", suffixes=(".sets",))\n': "",
            },
        },
        "from pathlib import Path\nfrom deeploc_tf.benchmark.formats.registry import sniff\n"
        "assert sniff(Path('a.sets')) == 'sets'",
    ),
    Request(
        "a format of tables",
        {"deeploc_tf/profiles/tables/feather.py": "tables"},
        {_TABLES: {'".npz":': '".feather": f"{_HERE}.feather:FEATHER",\n        ".npz":'}},
        "from pathlib import Path\nfrom deeploc_tf.profiles.tables.registry import format_of\n"
        "format_of(Path('a.feather'), to_write=True)",
    ),
    Request(
        "an option of `fit`: its field, and where it is used",
        {},
        {
            "deeploc_tf/training/config.py": {
                "    precision: Precision =": "    momentum: float = pydantic.Field(\n"
                '        default=0.9, ge=0, lt=1, description="Momentum of SGD."\n    )\n'
                "    precision: Precision ="
            },
            "deeploc_tf/training/optimization.py": {
                '"momentum": 0.9': '"momentum": config.momentum'
            },
        },
        "from click.testing import CliRunner\nfrom deeploc_tf.cli import main\n"
        "assert '--momentum' in CliRunner().invoke(main, ['fit', '--help']).output\n"
        + _RUN
        + "from deeploc_tf.training.optimization import make_optimizer\n"
        "make_optimizer(FitConfig(optimizer='sgd', momentum=0.5, ema_momentum=0.0), 9)",
    ),
    Request(
        "a fourth split that `fit` evaluates at its end, and the model card tells",
        {},
        {
            "deeploc_tf/names.py": {
                "EVALUATED_SPLITS = USUAL_SPLITS[1:]": "EVALUATED_SPLITS = (*USUAL_SPLITS[1:], "
                '"calibration")'
            }
        },
        "from deeploc_tf.cli.fit import EVALUATED_SPLITS as a\n"
        "from deeploc_tf.training.fit import EVALUATED_SPLITS as b\n"
        "from deeploc_tf.serving.description import EVALUATED_SPLITS as c\n"
        "assert a == b == c == ('validation', 'test', 'calibration')",
    ),
    Request(
        "a free column of records",
        {},
        {},
        "import numpy as np\nfrom tfrecords.schema import Crop, Schema\n"
        "from tfrecords.codec import decode, encode\n"
        "schema = Schema((2, 2, 1), 'uint8', ('gfp',), metadata={'plate': 'text'})\n"
        "crop = Crop('a', np.zeros((2, 2, 1), np.uint8), metadata={'plate': 'P7'})\n"
        "assert decode(encode(crop, schema), schema).metadata == {'plate': 'P7'}",
    ),
    Request(
        "a fixed column of records, from the list of crops to the tables",
        {},
        {
            "tfrecords/schema.py": {
                'TEXTS = ("protein",)': 'TEXTS = ("protein", "plate")',
                '    protein: str = ""\n': '    protein: str = ""\n    plate: str = ""\n',
            },
            "deeploc_tf/ingest/reading.py": {
                "), metadata=metadata\n": '),\n                plate=metadata.pop("plate", ""),\n'
                "                metadata=metadata,\n"
            },
        },
        "import numpy as np\nfrom tfrecords.schema import Crop, Schema\n"
        "from tfrecords.codec import decode, encode\n"
        "schema = Schema((2, 2, 1), 'uint8', ('gfp',))\n"
        "crop = Crop('a', np.zeros((2, 2, 1), np.uint8), plate='P7')\n"
        "assert decode(encode(crop, schema), schema).plate == 'P7'\n"
        "from deeploc_tf.features.crops import _row\n"
        "from deeploc_tf.profiles.tables.columns import column_types\n"
        "from tfrecords.tfds import tfds_features\n"
        "assert 'plate' in column_types(schema) and _row('test', crop, schema)['plate'] == 'P7'\n"
        "assert 'plate' in str(tfds_features(schema))",
    ),
)


def files_of(request: Request, copy: Path) -> Iterator[str]:
    """Make a change in a clean copy, see that it works, give the files it touched; undo it."""
    for name, part in request.files.items():
        (copy / name).write_text(PARTS[part], "utf-8")
    for name, edits in request.edits.items():
        text = (copy / name).read_text("utf-8")
        for old, new in edits.items():
            if text.count(old) != 1:
                msg = f"{request.title}: {name} must have once: {old!r}"
                raise ValueError(msg)
            text = text.replace(old, new)
        (copy / name).write_text(text, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-c", request.check], cwd=copy, env=environment, check=True)
    git = ["git", "-C", str(copy)]
    subprocess.run([*git, "add", "deeploc_tf", "tfrecords"], check=True)
    command = [*git, "diff", "--cached", "--numstat"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    subprocess.run([*git, "reset", "--quiet", "--hard"], check=True)
    for line in done.stdout.splitlines():
        added, _, name = line.split("\t")
        yield f"{Path(name).name} +{added}"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
        print("| request | files | which, and lines added |\n|---|---|---|")
        for request in REQUESTS:
            files = list(files_of(request, copy))
            print(f"| {request.title} | {len(files)} | {', '.join(files)} |", flush=True)


if __name__ == "__main__":
    main()
