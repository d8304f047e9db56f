"""A study's file: what is accepted, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeploc_tf.study.config import StudyConfigError, read_study
from deeploc_tf.study.specification import FeaturesMethod, NetworkMethod, RecordsData, SimulatedData

GOOD = """
data: {kind: simulated, screen: {num_proteins: 68, difficulty: 0.3}}
seeds: [4, 5]
methods:
  DeepLoc: {kind: network, fit: {width: 0.25}}
  intensity: {kind: features, features: intensity}
  both: {kind: combined, of: [DeepLoc, intensity]}
  random: {kind: random, dimensions: 8}
map: DeepLoc
densities: processes
reference: DeepLoc
curves: [DeepLoc]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_study_is_read(tmp_path: Path) -> None:
    config = read_study(written(tmp_path, GOOD))
    assert isinstance(config.data, SimulatedData)
    screen = config.data.settings
    assert (screen.num_proteins, screen.difficulty, screen.plates) == (68, 0.3, 6)
    assert list(config.methods) == ["DeepLoc", "intensity", "both", "random"]
    deeploc, intensity = config.methods["DeepLoc"], config.methods["intensity"]
    assert isinstance(deeploc, NetworkMethod)
    assert (deeploc.fit, deeploc.layers) == ({"width": 0.25}, ())
    assert isinstance(intensity, FeaturesMethod)
    assert config.seeds == (4, 5)


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    text = GOOD.replace(
        "{kind: simulated, screen: {num_proteins: 68, difficulty: 0.3}}",
        "{kind: records, records: ../R, standards: {GO CC: go.gmt, processes: /k.tsv}}",
    )
    data = read_study(written(tmp_path, text)).data
    assert isinstance(data, RecordsData)
    assert data.records == tmp_path / "../R"
    assert data.standards == {"GO CC": tmp_path / "go.gmt", "processes": Path("/k.tsv")}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("methods:", "mthods:", "`mthods` is no key of a study. Did you mean 'methods'?"),
        ("width", "wdth", "`methods.DeepLoc.fit.wdth` is no key .* Did you mean 'width'?"),
        ("fit:", "fitt:", "`methods.DeepLoc.fitt` is no key of a study. Did you mean 'fit'?"),
        ("num_proteins", "num_protein", "`num_protein` is no setting .* mean 'num_proteins'?"),
        ("num_proteins: 68", "num_proteins: 3", r"lie in .34, 20000.. Received: num_proteins=3"),
        ("num_proteins: 68", "num_proteins: 68.5", "whole number. Received: num_proteins=68.5"),
        ("0.25", "-1", "`methods.DeepLoc.fit.width`: Input should be greater than 0. Received: -1"),
        ("width: 0.25", "seed: 1", "`methods.DeepLoc.fit` must leave the seed"),
        ("reference: DeepLoc", "reference: Deploc", "`reference` must .* Did you mean 'DeepLoc'?"),
        ("of: [DeepLoc, inten", "of: [DeepLoc, Inten", "of` must name a method. .*'intensity'"),
        ("of: [DeepLoc, intensity]", "of: [DeepLoc, both]", "not combined or chosen"),
        ("curves: [DeepLoc]", "curves: [intensity]", "methods that are trained"),
        ("kind: network", "kind: netwrk", "'network', 'features'"),
        ("features: intensity", "features: haralick", "'intensity'"),
        ("dimensions", "dimension", "`methods.random.dimension` is .* Did you mean 'dimensions'?"),
        ("kind: simulated", "knid: simulated", "`data` must say its `kind`"),
        ("densities: processes", "densities: procesess", "name a standard.* mean 'processes'?"),
        ("map: ", "choose_by: pathwayz\nmap: ", "`choose_by` must .* mean 'pathways'?"),
        ("map: DeepLoc\n", "", "`densities` are drawn on a map"),
        ("intensity}", "intensity, transform: {spheres: true}}", "transform.spheres` .* 'sphere'?"),
        (
            "intensity}",
            "intensity, transform: {sphere: true, num_components: 2}}",
            "one projection",
        ),
        ("fit: {", "untrained: true, shuffled: true, fit: {", "`untrained` or `shuffled`"),
        ("  intensity: {", "  DeepLoc: {", "the key 'DeepLoc' must be there once"),
        ("seeds: [4, 5]", "seeds: []", "`seeds`: Tuple should have at least 1 item"),
        ("seeds: [4, 5]", "seeds: [4, 4]", "`seeds`: .*once"),
        ("seeds: [4, 5]", "seeds: [4, 5", "must be a YAML file"),
        ("seeds: [4, 5]", "seeds: !!python/name:os.system", "must be a YAML file"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    with pytest.raises(StudyConfigError, match=message):
        read_study(written(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize("text", ["", "- DeepLoc\n", "3\n"])
def test_what_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(StudyConfigError, match="valid dictionary"):
        read_study(written(tmp_path, text))


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(StudyConfigError, match="under 1 MiB"):
        read_study(written(tmp_path, "#" * (1 << 20) + GOOD))


LEVELS = "".join(f", &b{i + 1} [{', '.join([f'*b{i}'] * 9)}]" for i in range(9))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("data: " + "[" * 5000 + "]" * 5000, "recursion"),
        ("data: " + "{a: " * 3000, "recursion"),
        ("data: " + "9" * 5000, "digits"),
        ("seeds: [1" + "0" * 400 + "]", "hostile.yaml"),
        (f"seeds: [&b0 [x]{LEVELS}]", "hostile.yaml"),  # 9 ** 9 values, by aliases
        (f"data: {{kind: records, records: [&b0 [x]{LEVELS}]}}", "hostile.yaml"),
        ("data: &a [*a]", "hostile.yaml"),
    ],
)
def test_yaml_that_is_deep_or_many_times_its_size_is_refused(
    text: str, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(StudyConfigError, match=match) as refusal:
        read_study(path)
    assert str(path) in str(refusal.value)
    assert len(str(refusal.value)) < 1000
