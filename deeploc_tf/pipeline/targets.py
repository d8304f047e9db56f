"""What crops can be told apart by: their labels, or the proteins that they show."""

from __future__ import annotations

from typing import Literal, cast

Kind = Literal["label", "protein"]
Target = Literal["label", "protein", "label+protein"]


def kinds(target: Target) -> tuple[Kind, ...]:
    """What is to be told, one thing after the other, in the order of the outputs."""
    return cast("tuple[Kind, ...]", tuple(target.split("+")))
