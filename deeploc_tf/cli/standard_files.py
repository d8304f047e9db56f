"""How files of standards are read: the options that `standards` and `benchmark` share."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deeploc_tf.cli.parameters import Names

if TYPE_CHECKING:
    from deeploc_tf.benchmark.identifiers import IdentifierMap
    from deeploc_tf.benchmark.standards import Standard

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN_NAMES = 5
_OPTIONS = (
    click.option(
        "--format", "form", help="Of all standards; else it is seen from each. docs/standards.md"
    ),
    click.option(
        "--aspect",
        "aspects",
        multiple=True,
        type=click.Choice(["C", "F", "P"], case_sensitive=False),
        help="Of the Gene Ontology: component, function, process. Repeatable; else each there is.",
    ),
    click.option("--ontology", type=_FILE, help="OBO: GAF's terms are propagated to those above."),
    click.option(
        "--slim", help="OBO file of a slim, or a subset of --ontology: keep its terms only."
    ),
    click.option(
        "--exclude-evidence",
        type=Names(),
        default=(),
        help="Evidence codes of GAF to leave out, such as IEA,RCA; the file must have them.",
    ),
    click.option(
        "--exclude-term", "exclude_terms", multiple=True, help="Term to leave out. Repeatable."
    ),
    click.option(
        "--identifiers",
        multiple=True,
        type=_FILE,
        help="SGD_features.tab, uniprot and gene_id, or two columns: one name a protein. "
        "Repeatable: a later table is read through the ones before.",
    ),
)


def reading_options(command: _Command) -> _Command:
    """Give a command the options of this module; it passes them to `Reading`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the options of `reading_options` say, under their names."""

    form: str | None
    aspects: tuple[str, ...]
    ontology: Path | None
    slim: str | None
    exclude_evidence: tuple[str, ...]
    exclude_terms: tuple[str, ...]
    identifiers: tuple[Path, ...]

    def names(self) -> IdentifierMap | None:
        """The table of identifiers, if there is one."""
        from deeploc_tf.benchmark.identifiers import read_identifiers

        return read_identifiers(*self.identifiers) if self.identifiers else None

    def standards(
        self, files: Sequence[Path], names: IdentifierMap | None, *, every_aspect: bool = True
    ) -> list[list[Standard]]:
        """The standards of each file, one for each aspect where it has several.

        Args:
            files: to read.
            names: as `names` gives them.
            every_aspect: without `--aspect`, take all; else the library asks for one.
        """
        given = {
            "aspect": self.aspects,
            "ontology": self.ontology,
            "slim": self.slim,
            "exclude_evidence": self.exclude_evidence,
        }
        found = []
        forms = _forms(files, self.form, {option for option, value in given.items() if value})
        for path, (form, options) in zip(files, forms, strict=True):
            keywords = {
                **{option: given[option] for option in options if option != "aspect"},
                "format": form,
                "identifiers": names,
                "exclude_terms": self.exclude_terms,
            }
            aspects = self.aspects if "aspect" in options else ()
            found.append(_read(path, keywords, aspects, every_aspect=every_aspect))
        return found


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """What happened to a standard on its way from the file."""
    for title in ("left_out", "notes"):
        for reason, count in report[title].items():
            yield f"{title.replace('_', ' ')}: {count} {reason}"
    if "identifiers" not in report:
        return
    found = report["identifiers"]
    yield f"identifiers: {found['mapped']} of {found['names']} names mapped"
    ambiguous = [f"{name} ({' or '.join(found['ambiguous'][name])})" for name in found["ambiguous"]]
    merged = [f"{name} ({', '.join(came)})" for name, came in found["merged"].items()]
    shown = {"unmapped": found["unmapped"], "ambiguous": ambiguous, "merged": merged}
    for what, names in shown.items():
        if names:
            more = " ..." if len(names) > _SHOWN_NAMES else ""
            yield f"{what}: {len(names)}, {', '.join(names[:_SHOWN_NAMES])}{more}"


def _forms(
    files: Sequence[Path], form: str | None, given: set[str]
) -> list[tuple[str, frozenset[str]]]:
    """The format of each file, and which of its options are given."""
    from deeploc_tf.benchmark.formats.registry import format_of

    forms = [format_of(path, form) for path in files]
    # With one file the library says what is wrong; of several, each takes what it knows.
    if len(files) == 1:
        return [(forms[0][0], frozenset(given))]
    taken = [(name, frozenset(given) & found.options) for name, found in forms]
    left = given.difference(*(options for _, options in taken))
    if left:
        msg = f"None of the files has a format that takes --{min(left).replace('_', '-')}."
        raise click.UsageError(msg)
    return taken


def _read(
    path: Path, keywords: dict[str, Any], aspects: Sequence[str], *, every_aspect: bool
) -> list[Standard]:
    from deeploc_tf.benchmark.formats.aspects import ASPECTS, AspectError
    from deeploc_tf.benchmark.standards import read_standard

    if aspects:
        return [read_standard(path, aspect=aspect, **keywords) for aspect in aspects]
    try:
        return [read_standard(path, **keywords)]
    except AspectError:
        if not every_aspect:
            raise
    found = []
    for aspect in ASPECTS:
        with contextlib.suppress(AspectError):  # the file has not this one
            found.append(read_standard(path, aspect=aspect, **keywords))
    return found
