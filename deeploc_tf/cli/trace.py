"""`deeploc-tf trace`: from a score back to the pixels."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deeploc_tf.cli.command import Command
from deeploc_tf.cli.messages import answer
from deeploc_tf.cli.parameters import json_option

if TYPE_CHECKING:
    from deeploc_tf.lineage.trace import Link

EPILOG = """\b
Examples:
  deeploc-tf trace RESULTS/scores.json
  deeploc-tf trace map.html --search /data/screen7
  deeploc-tf trace cells.profiles.parquet --replay
"""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("path", metavar="FILE|FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--search",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder to search, at any depth, for what FILE was made from, by name and by digest; can "
    "be given several times.  [default: folders beside and above it, by name]",
)
@click.option(
    "--replay", is_flag=True, help="Run the command that wrote FILE again, and compare the bytes."
)
@json_option
def trace(path: Path, search: tuple[Path, ...], replay: bool, as_json: bool) -> int:
    """Show what FILE was made from, back to the pixels, and check every link of the chain.

    Scores, profiles, cells, models and records name the digests of what they were made from. Each
    of these is searched for, read and compared; what is not found is marked. Exits with 1 if
    something is damaged or is not what was used.
    """
    from deeploc_tf.lineage.replay import replay as repeat
    from deeploc_tf.lineage.trace import DAMAGED, WHOLE
    from deeploc_tf.lineage.trace import trace as trace_back

    found = trace_back(path, search)
    repeated = repeat(found) if replay else None
    links = list({id(link): link for link in found.chain()}.values())
    damaged = [link for link in links if link.state == DAMAGED]
    unchecked = [link for link in links if link.state not in (WHOLE, DAMAGED)]
    if as_json:
        values: dict[str, Any] = found.to_json()
        if repeated is not None:
            values["replayed"] = {"same": repeated.same, "told": repeated.sentence}
        answer(values, (), as_json=True)
    else:
        click.echo("\n".join(_lines(found)))
        counts = f"{len(links)} links: {len(links) - len(damaged) - len(unchecked)} whole"
        for count, what in ((len(damaged), "damaged"), (len(unchecked), "not checked")):
            counts += f", {count} {what}" * bool(count)
        click.echo(f"\n{counts}")
        if repeated is not None:
            click.echo(repeated.sentence)
    return int(bool(damaged) or (repeated is not None and repeated.same is False))


def _lines(link: Link, depth: int = 0, seen: set[int] | None = None) -> Iterator[str]:
    """A link and what is known of it, then its parents, further in; each once."""
    seen = set() if seen is None else seen
    inside = "  " * depth
    digest = next(iter(link.identity.values()), "")[:12]
    name = str(link.path) if link.path is not None else link.name
    yield f"{inside}{link.what}  {name}  {digest}  {link.state}".rstrip()
    if id(link) in seen:
        yield f"{inside}    (see above)"
        return
    seen.add(id(link))
    if link.detail:
        yield f"{inside}    {link.detail}"
    if link.command is not None:
        yield f"{inside}    deeploc-tf {shlex.join(link.command)}"
    if link.settings:
        yield f"{inside}    {_settings(link.settings)}"
    if link.version:
        yield f"{inside}    written by deeploc-tf {link.version}"
    for parent in link.parents:
        yield from _lines(parent, depth + 1, seen)


def _settings(settings: Any) -> str:
    texts = (f"{name}: {_short(value)}" for name, value in settings.items())
    return "; ".join(texts)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
