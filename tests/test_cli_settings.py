"""The options of `fit` are made of the fields of its settings, each declared once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from deeploc_tf.cli.command import ALL_OPTIONS
from deeploc_tf.cli.fit import fit
from deeploc_tf.cli.parameters import test_time_option as averaged_views
from deeploc_tf.cli.settings import given_settings
from deeploc_tf.training.config import FitConfig

ROOT = Path(__file__).resolve().parents[1]
FIELD = """    grain: Literal["fine", "coarse"] = pydantic.Field(
        default="coarse", description="Grain of the emulsion."
    )

    @pydantic.model_validator(mode="wrap")
"""


def options() -> dict[str, click.Option]:
    params = fit.get_params(click.Context(fit))
    return {str(p.name): p for p in params if isinstance(p, click.Option)}


def settings_of(*arguments: str) -> FitConfig:
    with fit.make_context("fit", ["RECORDS", "RUN", *arguments]) as context:
        found: FitConfig = given_settings(context, FitConfig)
    return found


def test_every_setting_but_the_one_that_fit_sets_has_an_option_with_its_words() -> None:
    found = options()
    for name, field in FitConfig.model_fields.items():
        if name == "initial_model":
            assert name not in found
            continue
        assert found[name].hidden == (name == "network")  # of which nobody has registered one
        assert field.description, name
        assert found[name].help is not None
        assert str(found[name].help).startswith(field.description)
        assert found[name].default == field.default


def test_only_what_is_given_is_set() -> None:
    assert settings_of().model_fields_set == set()
    assert settings_of("--epochs", "40").model_fields_set == {"epochs"}
    assert settings_of("--method", "inpainting").epochs == 30
    assert settings_of("--method", "inpainting", "--epochs", "40").epochs == 40


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--dense-units", "8,6"], "dense_units", (8, 6)),
        (["--freeze", "conv_*,fc_1"], "freeze", ("conv_*", "fc_1")),
        (["--no-last-block"], "last_block", False),
        (["--mask"], "mask", True),
        (["--no-evaluate-test"], "evaluate_test", False),
        (["--target", "label+protein"], "target", "label+protein"),
        (["--sampling", "protein"], "sampling", "protein"),
        (["--normalization", "min-max"], "normalization", "min-max"),
        (["--clip-norm", "0.5"], "clip_norm", 0.5),
        (["--window", "0"], "window", 0),
    ],
)
def test_options_have_the_types_of_their_fields(
    arguments: list[str], name: str, value: object
) -> None:
    assert getattr(settings_of(*arguments), name) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "-1"], "Received: --window -1."),
        (["--dense-units", "8"], "'8' must be two numbers, as in 512,512."),
        (["--loss", "focal", "--label-smoothing", "0.1"], "takes no label smoothing"),
        (["--method", "inpainting", "--mask"], "method='inpainting' with mask=True"),
        (["--augmentation", "blur"], "'none', 'flips', 'orientations', 'rotations'"),
    ],
)
def test_errors_name_the_flag(arguments: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        settings_of(*arguments)
    assert message in caught.value.format_message()


def test_defaults_are_shown() -> None:
    context = click.Context(fit, terminal_width=200)
    context.meta[ALL_OPTIONS] = True
    text = " ".join(fit.get_help(context).split())
    assert "Peak learning rate. [default: 0.002]" in text
    assert "Sizes of fc_1 and fc_2. [default: the preset's]" in text
    assert "Clip gradients to this global norm. --ema-momentum" in text


def test_views_are_those_of_the_networks() -> None:
    command = click.command()(averaged_views(lambda: None))
    (option,) = command.params
    assert list(option.type.choices) == ["none", "crops", "orientations", "both"]


def test_a_new_field_has_option_help_and_documentation(tmp_path: Path) -> None:
    for package in ("deeploc_tf", "tfrecords", "docs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    config = tmp_path / "deeploc_tf" / "training" / "config.py"
    text = config.read_text("utf-8")
    before = '    @pydantic.model_validator(mode="wrap")\n'
    assert before in text
    config.write_text(text.replace(before, FIELD.lstrip("\n"), 1), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    shown = "--grain [fine|coarse] Grain of the emulsion. [default: coarse]"
    assert shown in " ".join(python("-m", "deeploc_tf", "fit", "--help-all").split())
    python("docs/make_cli_reference.py")
    assert shown in " ".join((tmp_path / "docs" / "cli.md").read_text("utf-8").split())
    code = (
        "from deeploc_tf.cli.fit import fit\n"
        "from deeploc_tf.cli.settings import given_settings\n"
        "from deeploc_tf.training.config import FitConfig\n"
        "with fit.make_context('fit', ['RECORDS', 'RUN', '--grain', 'fine']) as context:\n"
        "    print(given_settings(context, FitConfig).grain)\n"
    )
    assert python("-c", code) == "fine\n"
