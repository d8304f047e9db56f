"""One chain of digests: a bit flipped anywhere is found, at the level where it was flipped."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from shared import run_cli

from deeploc_tf.lineage.things import NoDigestError
from deeploc_tf.lineage.trace import DAMAGED, MISSING, WHOLE, Link, trace
from deeploc_tf.lineage.verify import verify
from deeploc_tf.profiles.change import ChangeSettings, change
from deeploc_tf.profiles.tables import VectorTable, read_table, write_table
from deeploc_tf.profiles.transforms import load_transform
from deeploc_tf.provenance import read_seal, with_seal

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")
pytestmark = pytest.mark.slow

FIT = (
    *("--width", "0.06", "--dense-units", "8,6", "--window", "12", "--batch-size", "6"),
    *("--epochs", "1", "--warmup-epochs", "0", "--test-time", "none", "--no-last-block"),
    *("--optimizer", "sgd", "--ema-momentum", "0"),
)
SHARD = "records/deeploc-train.tfrecord-00000-of-00001"
MAP = ("--projection", "tsne")


def write_screen(folder: Path) -> None:
    """Crops of 6 proteins, a whole field of two cells, and a standard."""
    random = np.random.default_rng(0)
    for name in ("crops", "fields", "standards"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number in range(36):
        protein, field = number % 6, number // 6 % 3
        row: dict[str, Any] = {"protein": f"P{protein}", "label": "ab"[protein % 2], "field": field}
        for channel in ("gfp", "rfp"):
            row[channel] = f"crops/{number}_{channel}.tif"
            pixels = random.integers(0, 4000 // (1 + protein % 2), (16, 16))
            tifffile.imwrite(folder / row[channel], pixels.astype(np.uint16))
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "cells.csv", index=False)
    (folder / "standards/complexes.gmt").write_text("one\t\tP0\tP2\tP4\ntwo\t\tP1\tP3\tP5\n")
    labels = np.zeros((64, 64), np.uint16)
    labels[10:20, 10:20], labels[40:50, 30:40] = 1, 2
    tifffile.imwrite(folder / "fields/A01_labels.tif", labels)
    for channel in ("gfp", "rfp"):
        pixels = random.integers(0, 4000, (64, 64)).astype(np.uint16)
        tifffile.imwrite(folder / f"fields/A01_{channel}.tif", pixels)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From images to scores, predictions, pages and pictures, by the commands."""
    here = tmp_path_factory.mktemp("chain")
    write_screen(here / "screen")

    def run(*words: object) -> None:
        done = run_cli(*words)
        assert done.exit_code == 0, done.output

    columns = [word for name in ("gfp", "rfp") for word in ("--image-column", f"{name}={name}")]
    splits = ("--label", "label", "--test", "field=2", "--validation", "field=1")
    run("build-records", here / "screen/cells.csv", here / "records", *splits, *columns)
    run("fit", here / "records", here / "run", *FIT)
    cells, profiles = here / "cells.parquet", here / "profiles.parquet"
    run("embed", here / "run", here / "records", cells, "--split", "train", "--split", "test")
    run("profile", cells, profiles, "--normalize", "standardize", "--save", here / "transform.npz")
    standard = here / "screen/standards/complexes.gmt"
    run("benchmark", profiles, standard, here / "scores", "--shuffles", 2, "--permutations", 0)
    pattern = ("--pattern", "{well}_{channel}.tif", "--label-image", "{well}_labels.tif")
    fields = here / "screen/fields"
    run("predict", here / "run", fields, here / "predictions", *pattern, "--embedding")
    run("evaluate", here / "run", here / "records", here / "evaluation")
    run("export", here / "run", here / "model")
    run("report", here / "run", here / "report.html", "--evaluation", here / "evaluation")
    return here


@contextlib.contextmanager
def changed(path: Path, at: int | None = None) -> Iterator[None]:
    """A file with one bit flipped, in the middle or at a byte, while the block runs."""
    content = path.read_bytes()
    at = len(content) // 2 if at is None else at
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    try:
        yield
    finally:
        path.write_bytes(content)


def states(link: Link) -> dict[str, set[str]]:
    """The states of the links of a chain, by what they are."""
    found: dict[str, set[str]] = {}
    for one in link.chain():
        found.setdefault(one.what, set()).add(one.state)
    return found


# --- verify


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("records", "records"),
        ("run", "run"),
        ("cells.parquet", "embeddings"),
        ("cells.profiles.parquet", "profiles"),
        ("transform.npz", "transform"),
        ("scores", "scores"),
        ("scores/scores.json", "scores"),
        ("scores/terms.csv", "file of scores"),
        ("scores/scores.png", "picture"),
        ("scores/scores.svg", "picture"),
        ("predictions", "predictions"),
        ("predictions/cells.parquet", "file of predictions"),
        ("predictions/embeddings.parquet", "file of predictions"),
        ("evaluation", "evaluation"),
        ("evaluation/predictions.parquet", "file of evaluation"),
        ("model", "SavedModel"),
        ("model/1/saved_model.pb", "file of digests.json"),
        ("run/model.keras", "file of run"),
        ("run/config.json", "JSON"),
        (SHARD, "file of records"),
        ("report.html", "page"),
        ("", "folder"),
    ],
)
def test_verify_says_what_anything_of_ours_is(chain: Path, name: str, kind: str) -> None:
    done = run_cli("verify", chain / name)
    assert done.exit_code == 0, done.output
    assert f"{chain / name}: {kind}, whole" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        SHARD,
        "records/manifest.json",
        "records/features.json",
        "records/inputs.sha256",
        "records/dataset_info.json",
        "records/label.labels.txt",
        "run/config.json",
        "run/model.keras",
        "run/metrics.json",
        "run/run.json",
        "cells.parquet",
        "profiles.parquet",
        "transform.npz",
        "scores/scores.json",
        "scores/scores.csv",
        "scores/scores.png",
        "scores/scores.svg",
        "predictions/predict.json",
        "predictions/cells.parquet",
        "predictions/wells.csv",
        "evaluation/metrics.json",
        "evaluation/predictions.parquet",
        "evaluation/confusion.png",
        "model/README.md",
        "model/1/saved_model.pb",
        "model/1/assets.extra/description.json",
        "report.html",
    ],
)
def test_a_flipped_bit_is_found_in_the_folder_and_in_the_file(chain: Path, name: str) -> None:
    path = chain / name
    top = chain / Path(name).parts[0]
    with changed(path):
        done = run_cli("verify", top, "--deep")
        assert (done.exit_code, path.name in done.stderr) == (1, True), done.output
        assert not isinstance(done.exception, (TypeError, KeyError)), done.exception
        assert run_cli("verify", chain, "--deep").exit_code == 1
        if path.parent.name != "records" or "tfrecord" in name:
            with pytest.raises(ValueError, match=path.name.replace(".", r"\.")):
                verify(path)
    assert run_cli("verify", top, "--deep").exit_code == 0


def test_reversed_names_of_labels_are_found(chain: Path) -> None:
    path = chain / "records/label.labels.txt"
    before = path.read_text()
    path.write_text("".join(f"{name}\n" for name in reversed(before.split())))
    try:
        assert run_cli("verify", chain / "records").exit_code == 0
        done = run_cli("verify", chain / "records", "--deep")
    finally:
        path.write_text(before)
    assert (done.exit_code, "label.labels.txt must say" in done.stderr) == (1, True), done.output


@pytest.mark.parametrize("name", ["screen/cells.csv", "screen/standards/complexes.gmt", "screen"])
def test_what_has_no_digest_is_refused_in_a_sentence(chain: Path, name: str) -> None:
    done = run_cli("verify", chain / name)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: What is verified must be a file or folder that deeploc")
    with pytest.raises(NoDigestError):
        trace(chain / "screen")


def test_a_run_whose_model_is_another_is_not_used(chain: Path) -> None:
    from deeploc_tf.models.trained import load_trained
    from tfrecords.errors import RecordsError

    with changed(chain / "run/model.keras"), pytest.raises(RecordsError, match="its digest is not"):
        load_trained(chain / "run")


def test_a_flipped_bit_anywhere_in_a_seal_is_found() -> None:
    content = with_seal(b"# A card\n")
    assert read_seal(content) is not None
    for at in range(len(content) - 1):
        with pytest.raises(ValueError, match=r"\w"):
            read_seal(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


# --- trace


def test_the_chain_of_scores_ends_at_the_pixels(chain: Path) -> None:
    found = trace(chain / "scores/scores.json", [chain / "screen"])
    shown = [one.what for one in found.chain()]
    assert shown[:6] == ["scores", "profiles", "cells", "run", "records", "images"]
    assert all(of == {WHOLE} for of in states(found).values()), states(found)
    commands = [one.command[0] for one in found.chain() if one.command]
    assert commands[:4] == ["benchmark", "profile", "embed", "fit"]
    done = run_cli("trace", chain / "scores/scores.json", "--search", chain / "screen")
    assert done.exit_code == 0
    assert "deeploc-tf embed --split train --split test run records OUTPUT.parquet" in done.stdout
    as_json = json.loads(run_cli("trace", chain / "scores/scores.json", "--json").stdout)
    assert as_json["made_from"][0]["made_from"][0]["what"] == "cells"


@pytest.mark.parametrize(
    ("start", "name", "level"),
    [
        ("scores/scores.json", "scores/scores.json", "scores"),
        ("scores/scores.json", "profiles.parquet", "profiles"),
        ("scores/scores.json", "cells.parquet", "cells"),
        ("scores/scores.json", "run/model.keras", "run"),
        ("scores/scores.json", "run/config.json", "run"),
        ("scores/scores.json", SHARD, "records"),
        ("scores/scores.json", "records/manifest.json", "records"),
        ("scores/scores.json", "screen/standards/complexes.gmt", "standard"),
        ("scores/scores.json", "screen/crops/7_rfp.tif", "images"),
        ("scores/scores.json", "records/inputs.sha256", "records"),
        ("predictions/wells.csv", "screen/fields/A01_gfp.tif", "images"),
        ("predictions", "screen/fields/A01_labels.tif", "images"),
        ("scores/scores.png", "scores/scores.json", "scores"),
        ("cells.profiles.parquet", "cells.parquet", "cells"),
        ("predictions/cells.csv", "predictions/cells.csv", "file of predictions"),
        ("predictions/cells.csv", "run/model.keras", "run"),
        ("predictions", "predictions/wells.csv", "predictions"),
        ("report.html", "evaluation/per_class.csv", "evaluation"),
        ("model", "model/1/saved_model.pb", "SavedModel"),
    ],
)
def test_a_flipped_bit_is_found_at_its_level(
    chain: Path, start: str, name: str, level: str
) -> None:
    with changed(chain / name):
        found = trace(chain / start, [chain / "screen/standards"])
        damaged = {what for what, of in states(found).items() if DAMAGED in of}
    assert level in damaged, damaged
    assert damaged <= {level, "images"}, damaged
    assert all(DAMAGED not in of for of in states(trace(chain / start)).values())


def test_what_is_not_there_is_said_and_what_was_moved_is_found(chain: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(chain / "scores/scores.json", alone / "renamed.json")
    found = trace(alone / "renamed.json")
    lost = {one.what: one.state for one in found.chain()}
    assert {what for what, state in lost.items() if state == MISSING} >= {"profiles", "records"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(chain / "profiles.parquet", elsewhere / "p.parquet")
    shutil.copytree(chain / "run", elsewhere / "trained")
    found = trace(alone / "renamed.json", [elsewhere])
    states = {one.what: one.state for one in found.chain()}
    assert (states["profiles"], states["run"], states["cells"]) == (WHOLE, WHOLE, MISSING)
    shown = run_cli("trace", alone / "renamed.json").stdout
    assert "not found" in shown
    assert "deeploc-tf profile" in shown, "known although the file is lost"


@pytest.mark.parametrize("name", ["profiles.parquet", "scores/scores.json", "transform.npz"])
def test_the_last_step_is_repeated_with_the_same_bytes(chain: Path, name: str) -> None:
    words = ("trace", chain / name, "--search", chain / "screen/standards", "--replay")
    done = run_cli(*words)
    assert (done.exit_code, "Replayed: the same bytes in" in done.stdout) == (0, True), done.output


# --- sweeps

SWEPT = [
    *(SHARD, "records/manifest.json", "records/features.json", "records/dataset_info.json"),
    *("records/label.labels.txt", "records/inputs.sha256"),
    *("run/config.json", "run/environment.json", "run/history.csv", "run/metrics.json"),
    *("run/model.keras", "run/run.json", "cells.parquet", "profiles.parquet", "transform.npz"),
    *("scores/scores.json", "scores/terms.csv", "scores/scores.png", "scores/scores.svg"),
    *("predictions/predict.json", "predictions/cells.parquet", "predictions/embeddings.parquet"),
    *("predictions/cells.csv", "predictions/inputs.sha256"),
    *("evaluation/metrics.json", "evaluation/predictions.parquet", "evaluation/confusion.svg"),
    *("model/README.md", "model/1/saved_model.pb", "model/1/digests.json", "report.html"),
    *("tables/cells.h5", "tables/cells.npz", "tables/change.csv", "tables/change.json"),
]


@pytest.fixture(scope="module")
def more(chain: Path) -> Path:
    """The chain with what further commands wrote."""
    features = np.random.default_rng(0).normal(size=(96, 2)).astype(np.float32)
    proteins = pd.DataFrame({"protein": [f"P{row % 12}" for row in range(96)]})
    table = VectorTable(features, proteins, {"kind": "embeddings"}, ("f0", "f1"))
    folder = chain / "tables"
    folder.mkdir()
    for suffix in ("h5", "npz"):
        write_table(folder / f"cells.{suffix}", table, table.feature_names)
    change(folder / "cells.h5", folder / "cells.npz", folder / "change.csv", CHANGE)
    return chain


CHANGE = ChangeSettings(num_permutations=20, num_components=1)


def harmless(path: Path, good: bytes) -> bool:
    """Whether a table or transform that was changed gives what it gave before."""
    other = path.with_name(f"before{path.suffix}")
    other.write_bytes(good)
    try:
        if path.name == "transform.npz":
            texts = [repr(load_transform(one)) for one in (path, other)]
            return texts[0] == texts[1]
        tables = [read_table(one) for one in (path, other)]
        features = [table.features.tobytes() for table in tables]
        return features[0] == features[1] and tables[0].metadata.equals(tables[1].metadata)
    finally:
        other.unlink()


def sweep(path: Path, flips: int, cuts: int) -> None:
    """Flip bits and cut at seeded places; each is refused, or harmless."""
    top = path.parents[0] if path.parent.name in FOLDERS else path
    top = path.parent.parent if path.parent.parent.name == "model" else top
    good, random = path.read_bytes(), random_of(path.name)
    for number in range(flips + cuts):
        at = int(random.integers(len(good)))
        bad = bytearray(good)
        bad[at] ^= 1 << int(random.integers(8))
        path.write_bytes(bad if number < flips else good[:at])
        try:
            verify(path if top == path else top, deep=True)
        except (ValueError, OSError):  # in a sentence; anything else fails the test
            pass
        else:
            assert path.suffix in (".parquet", ".h5", ".npz"), (path.name, at)
            assert harmless(path, good), (path.name, at)
        finally:
            path.write_bytes(good)


FOLDERS = ("records", "run", "scores", "predictions", "evaluation", "model")


def random_of(name: str) -> np.random.Generator:
    return np.random.default_rng(sum(name.encode()))


@pytest.mark.parametrize("name", SWEPT)
def test_damage_anywhere_is_found_or_harmless(more: Path, name: str) -> None:
    sweep(more / name, flips=8, cuts=3)


@pytest.mark.long
@pytest.mark.parametrize("name", SWEPT)
def test_damage_anywhere_is_found_or_harmless_at_length(more: Path, name: str) -> None:
    sweep(more / name, flips=400, cuts=40)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scores/precision_recall.csv", ("--benchmark", "scores")),
        ("scores/scores.json", ("--benchmark", "scores")),
        ("evaluation/predictions.parquet", ("--evaluation", "evaluation")),
        ("evaluation/reliability.csv", ("--evaluation", "evaluation")),
        ("predictions/wells.csv", ("--predictions", "predictions")),
        ("run/history.csv", ()),
        ("run/metrics.json", ()),
    ],
)
def test_a_changed_file_is_not_shown(chain: Path, name: str, words: tuple[str, ...]) -> None:
    read = [chain / word if word in FOLDERS else word for word in words]
    with changed(chain / name):
        done = run_cli("report", chain / "run", chain / "OUT.html", *read)
    assert (done.exit_code, Path(name).name in done.stderr) == (1, True), done.output
    assert not (chain / "OUT.html").exists()


def test_what_is_not_repeated_says_why(chain: Path) -> None:
    done = run_cli("trace", chain / "run", "--replay")
    assert done.exit_code == 0
    assert "Not replayed: `fit`: a training is long" in done.stdout
