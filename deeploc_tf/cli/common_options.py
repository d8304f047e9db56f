"""Commands with many options: `--help` shows the common ones, `--help-all` shows them all."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import click

ALL_OPTIONS = "deeploc_tf.cli: all options"
"""Key of `Context.meta`; where it is true, help shows all options."""


class CommonOptionsCommand(click.Command):
    """A command whose `--help` shows some of its options.

    Args:
        common: flags of those, such as `--width`.
        attributes: as for `click.Command`.
    """

    def __init__(self, *, common: Collection[str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.common = frozenset(common)
        self.params.append(
            click.Option(
                ["--help-all"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_all,
                help="Show all options and exit.",
            )
        )

    def help_rows(
        self, ctx: click.Context, options: Iterable[click.Parameter]
    ) -> list[tuple[str, str]]:
        """Flags and texts of those of the options that this help shows."""
        shown = [
            option
            for option in options
            if ctx.meta.get(ALL_OPTIONS)
            or self.common.intersection(option.opts)
            or {"--help", "--help-all"}.intersection(option.opts)
        ]
        return [row for option in shown if (row := option.get_help_record(ctx)) is not None]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that are shown."""
        with formatter.section("Options" if ctx.meta.get(ALL_OPTIONS) else "Common options"):
            formatter.write_dl(self.help_rows(ctx, self.get_params(ctx)))


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the help with all options and leave, if that is asked."""
    if not value or ctx.resilient_parsing:
        return
    ctx.meta[ALL_OPTIONS] = True
    click.echo(ctx.get_help(), color=ctx.color)
    ctx.exit()
