"""Every operation has a GPU kernel for its dtype, asked of the kernels that TensorFlow registers.

That needs no GPU, and nothing is trained: functions are traced. An operation without a kernel would
run on the CPU in silence, and its tensors would travel twice in each step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf
from shared import tiny_fit
from tensorflow.python.framework import config as framework_config
from tensorflow.python.framework import kernels

from deeploc_tf.models.batch_normalization import SynchronizedBatchNormalization
from deeploc_tf.models.extractors import input_specs
from deeploc_tf.models.trained import load_trained
from deeploc_tf.models.views import outputs_of_views, views
from deeploc_tf.serving.description import describe
from deeploc_tf.serving.signatures import Signatures
from deeploc_tf.training.config import FitConfig
from deeploc_tf.training.devices import choose_strategy
from deeploc_tf.training.fit import compile_model, fit
from deeploc_tf.training.precision import computing_in
from deeploc_tf.training.tasks import TASKS
from tfrecords.manifest import Manifest, read_manifest

# They compute nothing, or call functions whose own operations are looked at.
STRUCTURE = {
    *("Placeholder", "NoOp", "Assert", "_Arg", "_Retval", "PartitionedCall", "LegacyCall"),
    *("StatefulPartitionedCall", "If", "StatelessIf", "Case", "StatelessCase", "While"),
    *("StatelessWhile",),
}
# `serialized` and `rest` take strings, which are on the CPU anyway: there they become pixels.
OF_STRINGS = {"ParseExampleV2", "DecodePaddedRaw", "DecodeRaw", "StringFormat", "DecodeBase64"}
# Those that refuse to run on a GPU under `enable_op_determinism`: of TensorFlow 2.21's wheel,
# `strings libtensorflow_cc.so.2 | grep -i 'determinis.* implementation'`. Not reductions of
# segments, the gradient of `gather`: they have another, deterministic kernel, which is taken then.
NOT_DETERMINISTIC = {
    *("AdjustContrast", "AdjustContrastv2", "Bincount", "DenseBincount", "CropAndResizeGradBoxes"),
    *("CropAndResizeGradImage", "FakeQuantWithMinMaxVarsGradient", "ResizeNearestNeighborGrad"),
    *("FakeQuantWithMinMaxVarsPerChannelGradient", "SparseTensorDenseMatMul"),
    *("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"),
    "DepthwiseConv2dNativeBackpropFilter",
}
# Without a seed, which Keras' and TensorFlow's stateful ones lack, they are refused, too.
OF_GLOBAL_SEEDS = {"Multinomial", "RandomShuffle", "RandomUniform", "RandomUniformInt"}
OF_GLOBAL_SEEDS |= {"ParameterizedTruncatedNormal", "RandomStandardNormal", "TruncatedNormal"}

STEPS: dict[str, dict[str, Any]] = {
    "rotations, AdamW, averages": {
        "augmentation": "rotations", "normalization": "percentile", "optimizer": "adamw",
        "weight_decay": 0.01, "ema_momentum": 0.9, "label_smoothing": 0.1,
    },
    "masks, bfloat16": {"mask": True, "precision": "bfloat16", "normalization": "standardize"},
    "float16": {"precision": "float16", "normalization": "min-max", "optimizer": "lamb"},
    "triplets": {"loss": "triplet", "augmentation": "flips", "normalization": "kraus"},
    "focal, proteins": {"loss": "focal", "target": "label+protein", "augmentation": "none"},
    "inpainting": {"method": "inpainting"},
}  # fmt: skip


def config_of(changes: dict[str, Any]) -> FitConfig:
    if changes.get("method") == "inpainting":
        return FitConfig(width=0.05, min_cells=2, pair_by=("protein",), batch_size=8, **changes)
    return tiny_fit(window=8, optimizer=changes.get("optimizer", "adam")).model_copy(update=changes)


def nodes(graph: Any) -> Iterator[Any]:
    definition = graph.as_graph_def()
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


@functools.cache
def constraints_of(op: str) -> list[dict[str, frozenset[int]]]:
    """Of each kernel for GPUs, the types that it takes by attribute."""
    return [
        {c.name: frozenset(c.allowed_values.list.type) for c in kernel.constraint}
        for kernel in kernels.get_registered_kernels_for_op(op).kernel
        if kernel.device_type in ("GPU", "DEFAULT")
    ]


def lacks_gpu_kernel(node: Any) -> bool:
    def fits(constraints: dict[str, frozenset[int]]) -> bool:
        asked = {name: node.attr[name].type for name in constraints if name in node.attr}
        return all(not kind or kind in constraints[name] for name, kind in asked.items())

    is_text = node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum
    known = node.op not in STRUCTURE | OF_STRINGS and not node.op.startswith("__inference")
    return known and not is_text and not any(map(fits, constraints_of(node.op)))


def without_kernel(graph: Any) -> set[tuple[str, str]]:
    found = {node.op: node for node in nodes(graph) if lacks_gpu_kernel(node)}
    return {(op, tf.as_dtype(node.attr["T"].type or 1).name) for op, node in found.items()}


@pytest.fixture(scope="module")
def records(write_screen: Callable[..., Manifest], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("kernels") / "records"
    write_screen(folder, size=12, has_mask=True)
    return folder


@pytest.fixture
def determinism() -> Iterator[None]:
    framework_config.enable_op_determinism()
    yield
    framework_config.disable_op_determinism()


def training_step(records: Path, config: FitConfig, device: str = "cpu") -> Any:
    """The graph of a step of a training on one device, or on each of several."""
    manifest = read_manifest(records)
    task = TASKS.get(config.method).load()(records, manifest, config)
    strategy = choose_strategy(device)
    with strategy.scope(), computing_in(config.precision):
        model = task.build()
        compile_model(model, config, 9, *task.objective())
    batches = task.batches(epochs=1, first_epoch=0, first_step=0)
    model._symbolic_build(data_batch=next(iter(batches)))
    step = tf.function(lambda *batch: strategy.run(model.train_step, args=(batch,)))
    return model, step.get_concrete_function(*batches.element_spec).graph


def test_the_question_has_an_answer() -> None:
    def asked(dtype: tf.DType) -> Any:
        def function(x: Any) -> Any:
            return tf.roll(x, 1, 1), tf.nn.relu(tf.cast(x, tf.float32))

        spec = tf.TensorSpec((None, 4), dtype)
        return tf.function(function).get_concrete_function(spec).graph

    assert without_kernel(asked(tf.uint16)) == {("Roll", "uint16")}
    assert without_kernel(asked(tf.float32)) == set()
    assert len(constraints_of("Conv2D")) > 1


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_training_have_kernels_that_can_be_deterministic(
    name: str, records: Path, determinism: None
) -> None:
    _, graph = training_step(records, config_of(STEPS[name]))
    ops = {node.op for node in nodes(graph)}
    assert {"Conv2D", "Conv2DBackpropFilter"} <= ops
    assert without_kernel(graph) == set()
    assert ops & (NOT_DETERMINISTIC | OF_GLOBAL_SEEDS) == set()


@pytest.mark.long
@pytest.mark.parametrize("backbone", ["densenet121", "vgg16", "resnet50", "xception"])
def test_steps_of_backbones_have_kernels(
    backbone: str, write_screen: Callable[..., Manifest], tmp_path: Path, determinism: None
) -> None:
    write_screen(tmp_path / "records", size=32)
    config = tiny_fit(backbone=backbone, window=0, width=1.0, last_block=True)
    _, graph = training_step(tmp_path / "records", config)
    assert without_kernel(graph) == set()
    found = {node.op for node in nodes(graph)} & (NOT_DETERMINISTIC | OF_GLOBAL_SEEDS)
    # docs/gpu.md says so
    expected = {"DepthwiseConv2dNativeBackpropFilter"} if backbone == "xception" else set()
    assert found == expected


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_views_of_crops_and_masks_have_kernels(dtype: str) -> None:
    from deeploc_tf.models.augmentation import RandomCrop

    image = keras.Input((12, 12, 2), dtype=dtype, name="image")
    model = keras.Model(image, RandomCrop(8, 8)(image))
    several = views(model, "both")
    assert len(several) == 40
    specs = {
        "image": tf.TensorSpec((None, 12, 12, 2), dtype),
        "mask": tf.TensorSpec((None, 12, 12), tf.uint8),
    }

    def seen(crops: dict[str, Any]) -> Any:
        return outputs_of_views(lambda view: view, crops, several)

    assert without_kernel(tf.function(seen).get_concrete_function(specs).graph) == set()


@pytest.mark.parametrize("fast", [False, True])
def test_signatures_of_savedmodels_have_kernels(fast: bool, records: Path, tmp_path: Path) -> None:
    config = tiny_fit(window=8, epochs=0, mask=True, last_block=True)
    fit(records, tmp_path / "run", config)
    trained = load_trained(tmp_path / "run", both_heads=True)
    description = describe(trained, tmp_path / "run", layer=None, test_time="crops", fast=fast)
    signatures = Signatures(trained, description, fast=fast).endpoints
    found = {
        name: without_kernel(function.get_concrete_function().graph)
        for name, function in signatures.items()
        if "describe" not in name  # texts
    }
    assert set(found) >= {"serving_default", "classify", "embed", "serialized"}
    assert not {name: ops for name, ops in found.items() if ops}
    assert [spec.name for spec in input_specs(trained.model)] == ["image", "mask"]


def test_replicas_meet_as_often_in_a_step_as_batch_normalization_asks(
    records: Path, two_cpus: list[str]
) -> None:
    model, graph = training_step(records, config_of({}), ",".join(two_cpus))
    normalizations = [
        layer for layer in model.layers if isinstance(layer, SynchronizedBatchNormalization)
    ]
    collectives = sum(node.op.startswith("Collective") for node in nodes(graph)) / len(two_cpus)
    assert collectives == 4 * len(normalizations) + 1
