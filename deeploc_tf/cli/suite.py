"""`deeploc-tf benchmark TABLE --suite NAME`: one table on a frozen suite, in one JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from deeploc_tf.cli.messages import answer

_TAKEN = {"files", "results", "suite", "suite_data", "similarity", "intervals", "protein"}
_TAKEN |= {"distinct_case", "seed", "as_json"}


def score_table(
    context: click.Context,
    files: Sequence[tuple[str | None, Path]],
    results: Path,
) -> None:
    """Score the one table, write the JSON if it has a name, and print the main numbers.

    Args:
        context: of the command; options that mean nothing for a suite are refused.
        files: what stands before the last argument.
        results: the last argument, which is the table where nothing stands before it.

    Raises:
        UsageError: there are several tables, or an option has no effect.
    """
    options = context.params
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in _TAKEN:
            msg = f"{parameter.opts[0]} has no effect with --suite. Leave one of them out."
            raise click.UsageError(msg)
    if len(files) > 1 or (files and results.is_file() and results.suffix != ".json"):
        msg = "--suite takes one table, and a JSON file to write: TABLE [RESULT.json]."
        raise click.UsageError(msg)
    from deeploc_tf.benchmark.suite_scores import score_suite
    from deeploc_tf.profiles.tables import Roles
    from tfrecords.errors import OutputExistsError

    output = results if files else None
    if output is not None and output.suffix != ".json":
        output = output / "scores.json"
    if output is not None and (output.exists() or (output != results and results.exists())):
        msg = f"The result must be a new file. Received: {str(results)!r}. Name another."
        raise OutputExistsError(msg)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
    values = score_suite(
        files[0][1] if files else results,
        options["suite"],
        output,
        data=options["suite_data"],
        similarity=options["similarity"],
        intervals=options["intervals"],
        seed=options["seed"],
        roles=Roles(options["protein"]),
        distinct_case=options["distinct_case"],
    )
    answer(values, lines(values), as_json=options["as_json"])


def lines(values: Mapping[str, Any]) -> Iterator[str]:
    """The main numbers of a table on a suite."""
    suite, coverage = values["suite"], values["coverage"]
    yield (
        f"{values['table']['file']} on {suite['name']}, version {suite['version']} "
        f"({suite['digest'][:12]})"
    )
    yield (
        f"{coverage['proteins_of_suite_with_profile']} of {coverage['proteins_of_suite']} proteins "
        f"of the suite have a profile ({coverage['share']:.0%})\n"
    )
    yield from _columns(
        [("standard", "proteins", "prevalence", "AP", "95%", "lift", "mAP")],
        *(
            (
                name,
                f"{one['proteins_scored']}",
                _number(one["prevalence"]),
                *_ranged(one, "average_precision"),
                _number(one["lift"], ".2f"),
                _number(one["mean_average_precision"]),
            )
            for name, one in values["scores"].items()
        ),
    )
    for name, why in values["not_scored"].items():
        yield f"{name}: not scored. {why}"
    for name, test in values["prospective"].items():
        low, high = test.get("auroc_low"), test.get("auroc_high")
        ends = "" if low is None else f" ({low:.3f}-{high:.3f})"
        about = (
            f"{test['annotations']} annotations of {test['terms']} terms" if "terms" in test else ""
        )
        yield f"{name}: AUROC {_number(test['auroc'], '.3f')}{ends}; {about or test['note']}"
    for name, baseline in values["baselines"].items():
        if "note" in baseline:
            yield f"\n{name}: not scored. {baseline['note']}"
            continue
        ours = baseline.get("table", values)
        yield f"\nbeside {name}, {baseline['proteins']} proteins"
        conditional = name.startswith("labels")
        heads = ("standard", "AP", "its AP", "mAP", "its mAP")
        more = ("lift|label", "95%") if conditional else ()
        yield from _columns(
            [heads + more],
            *(
                (
                    standard,
                    _number(own["average_precision"]),
                    _number(theirs["average_precision"]),
                    _number(own["mean_average_precision"]),
                    _number(theirs["mean_average_precision"]),
                    *(_ranged(own, "conditional_lift", ".2f") if conditional else ()),
                )
                for standard, theirs in baseline["scores"].items()
                for own in (ours["scores"][standard],)
            ),
        )
        for test, theirs in baseline["prospective"].items():
            own = ours["prospective"][test]
            pair = _number(own["auroc"], ".3f"), _number(theirs["auroc"], ".3f")
            yield f"{test}: AUROC {pair[0]}, its {pair[1]}"
    if values["absent"]:
        yield "\nabsent, for want of a file that is no part of the suite (--suite-data FOLDER):"
    for name, why in values["absent"].items():
        yield f"{name}: {why}"


def _ranged(numbers: Mapping[str, Any], score: str, form: str = ".4f") -> tuple[str, str]:
    low, high = numbers.get(f"{score}_low"), numbers.get(f"{score}_high")
    short = ".2f" if form == ".2f" else ".3f"
    ends = "-" if low is None else f"{_number(low, short)}-{_number(high, short)}"
    return _number(numbers[score], form), ends


def _number(value: float | None, form: str = ".4f") -> str:
    return "-" if value is None else format(value, form)


def _columns(head: Sequence[Sequence[str]], *rows: Sequence[str]) -> Iterator[str]:
    table = [*head, *rows]
    width = max(len(row[0]) for row in table)
    for row in table:
        yield row[0].ljust(width) + "".join(cell.rjust(13) for cell in row[1:])
