"""Normalization of cells by plate, methods chosen on half of the proteins, and names by case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tfrecords
from deeploc_tf.profiles.tables import VectorTable, read_table
from deeploc_tf.study.config import StudyConfigError, read_study
from deeploc_tf.study.specification import Transform
from deeploc_tf.study.study import Study, run_study
from deeploc_tf.study.transformed import filled, transformed
from tfrecords import Crop, Schema

pytest.importorskip("matplotlib", reason="matplotlib is in the extra report")
pytest.importorskip("jinja2", reason="jinja2 is in the extra report")

PROTEINS = [f"{letter}{number}" for letter in "Aa" for number in range(6)]

STUDY = """
data: {kind: records, records: records, standards: {pairs: pairs.gmt}, compartments: pairs.gmt}
methods:
  plain: {kind: features, features: intensity, transform: {normalize: standardize}}
  by plate: &plate
    {kind: features, features: intensity, transform: {normalize: standardize, by: plate}}
  pixels: &pixels
    {kind: features, features: pixels, mask_channel: none, transform: {normalize: center}}
  on controls:
    kind: features
    features: intensity
    transform: {normalize: mad, by: plate, controls: {protein: A0}, num_components: 3}
  chosen:
    kind: chosen
    of:
      pixels: *pixels
      light: *plate
choose_by: pairs
distinct_case: true
draws: 1
"""


def write_records(folder: Path) -> None:
    """Two plates, the second one thrice as bright; proteins of a pair are equally bright."""
    schema = Schema(
        image_shape=(16, 16, 2),
        dtype="uint16",
        channels=("gfp", "rfp"),
        metadata={"plate": "text"},
    )
    random = np.random.default_rng(0)
    crops = []
    for split in ("train", "test"):
        for number, protein in enumerate(PROTEINS):
            for cell in range(6):
                light = (1 + number // 2) * (3 if cell % 2 else 1)
                image = random.poisson([40 * light, 40], (16, 16, 2)).astype("uint16")
                key = f"{split}/{protein}/{cell}"
                plate = {"plate": f"P{cell % 2}"}
                crops.append(Crop(key=key, image=image, protein=protein, metadata=plate))
    entries = [tfrecords.Entry(c.key, c.key.split("/")[0], (), c.protein) for c in crops]
    tfrecords.write_records(folder, schema, entries, crops)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choices")
    write_records(folder / "records")
    pairs = [PROTEINS[i : i + 2] for i in range(0, len(PROTEINS), 2)]
    lines = ["\t".join([f"pair {i}", "", *pair]) for i, pair in enumerate(pairs)]
    (folder / "pairs.gmt").write_text("\n".join(lines) + "\n")
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def done(folder: Path) -> Study:
    return run_study(folder / "study.yaml", folder / "OUT", workers=1)


def test_cells_are_normalized_within_their_plate(done: Study) -> None:
    (measured,) = done.folder.glob("steps/measure-intensity-*/cells.parquet")
    cells = read_table(measured)
    frame = pd.DataFrame(cells.features.astype(float))
    plates = frame.groupby(cells.metadata["plate"].to_numpy())
    wanted = (frame - plates.transform("mean")) / plates.transform(lambda x: x.std(ddof=0))
    wanted = wanted.fillna(0).groupby(cells.metadata["protein"].to_numpy()).mean()
    tables = map(read_table, done.folder.glob("steps/normalize-*/cells.profiles.parquet"))
    (found,) = (t for t in tables if t.provenance["transform"]["controls"] is None)
    assert found.metadata["protein"].tolist() == sorted(PROTEINS)
    np.testing.assert_allclose(found.features, wanted, atol=1e-3)


def test_a_chosen_method_is_its_best_candidate_on_the_half_that_chooses(done: Study) -> None:
    choices = pd.read_csv(done.folder / "choices.csv").set_index("candidate")
    assert choices["method"].unique().tolist() == ["chosen"]
    halves = (
        pd.read_csv(done.folder / "halves.csv")
        .set_index(["score", "half", "method"])["mean"]
        .sort_index()
    )
    scores = halves["mean_average_precision", "choose"]
    alone = {"pixels": "pixels", "light": "by plate"}
    for candidate, method in alone.items():
        found = choices.loc[candidate, "mean_average_precision"]
        assert found == pytest.approx(scores[method])
    best = choices["mean_average_precision"].idxmax()
    assert choices["chosen"].to_dict() == {name: name == best for name in alone}
    of_all = done.scores.set_index("method")["average_precision"]
    assert list(of_all.index) == ["plain", "by plate", "pixels", "on controls", "chosen"]
    assert of_all["pixels"] != of_all["by plate"]
    assert of_all["chosen"] == of_all[alone[str(best)]]


def test_a_second_call_chooses_the_same_and_makes_nothing(done: Study, folder: Path) -> None:
    steps = {path: path.stat().st_mtime_ns for path in done.folder.glob("steps/*/step.json")}
    before = {path.name: path.read_bytes() for path in done.folder.glob("*.csv")}
    run_study(folder / "study.yaml", done.folder, workers=1)
    assert {p: p.stat().st_mtime_ns for p in done.folder.glob("steps/*/step.json")} == steps
    assert {path.name: path.read_bytes() for path in done.folder.glob("*.csv")} == before


def test_proteins_that_differ_in_case_are_two_where_the_study_says_so(folder: Path) -> None:
    config = folder / "one-case.yaml"
    config.write_text(STUDY.replace("distinct_case: true", "distinct_case: false"))
    with pytest.raises(ValueError, match="distinct_case"):
        run_study(config, folder / "one", workers=1)


def test_a_column_that_cells_do_not_have_is_told_before_anything_is_measured(folder: Path) -> None:
    config = folder / "column.yaml"
    config.write_text(STUDY.replace("by: plate}}\n  pix", "by: plat}}\n  pix"))
    with pytest.raises(StudyConfigError, match=r"`methods.by plate.transform`.*mean 'plate'"):
        run_study(config, folder / "none", workers=1)
    assert not (folder / "none" / "steps").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("choose_by: pairs\n", "", "`methods.chosen` is chosen .*`choose_by`"),
        ("normalize: mad, ", "", "`by` and `controls` are those of a normalization"),
        ("controls: {protein: A0}", "controls: {a: b, c: d}", "at most 1 item"),
        ("      light: *plate", "      light: {knd: x}", "must say its `kind`"),
        ("light: *plate", "light: {kind: random}", "'network', 'features'"),
        (
            "light: *plate",
            "light: {kind: features, featuresq: x}",
            r"chosen.of.light.featuresq` is no",
        ),
        ("light: *plate", "light: {kind: network, fit: {wdth: 1}}", r"light.fit.wdth` is no key"),
        ("      pixels: *pixels", "      light: *plate", "'light' must be there once"),
        ("      pixels: *pixels\n", "", "at least 2 items"),
        ("  plain: {", "  'chosen: light': {", "'chosen: light' for both"),
        ("  plain: {", "  x: {kind: combined, of: [chosen, pixels]}\n  plain: {", "or chosen"),
        (
            "  plain: {",
            "  x: {kind: combined, of: [plain, pixels], transform: {by: plate}}\n  plain: {",
            "transform.by` is no key of a study. Known: normalize, num_components, sphere",
        ),
        ("center}", "centre}", "'center', 'standardize' or 'mad'"),
    ],
)
def test_what_is_wrong_with_a_choice_is_told(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in STUDY
    (tmp_path / "study.yaml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(StudyConfigError, match=message):
        read_study(tmp_path / "study.yaml")


def test_what_is_not_defined_in_a_cell_is_at_its_mean() -> None:
    nan = np.nan
    features = np.array([[1, nan, 5], [3, 4, 6], [nan, 8, 7], [nan, nan, nan]], np.float32)
    metadata = pd.DataFrame({"protein": list("PQRS")})
    found = filled(VectorTable(features, metadata, {}, ("a", "b", "c")), ["a", "b"])
    assert found.features.tolist() == [[1, 6], [3, 4], [2, 8]]
    assert found.metadata["protein"].tolist() == ["P", "Q", "R"]


def test_profiles_are_centered() -> None:
    values = np.array([[1, 5], [3, 5]], np.float32)
    assert transformed(values, Transform(normalize="center")).tolist() == [[-1, 0], [1, 0]]
