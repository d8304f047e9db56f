"""What all commands have in common: `-q`, `-v`, and, where options are many, files of options.

With many options, `--help` shows the common ones and `--help-all` shows them all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import click

from deeploc_tf.cli.config_file import config_options, print_config
from deeploc_tf.cli.messages import quiet_alone_option, verbose_option
from deeploc_tf.cli.parameters import OVERWRITE, Output
from deeploc_tf.cli.pipes import print_written

ALL_OPTIONS = "deeploc_tf.cli: all options"
"""Key of `Context.meta`; where it is true, help shows all options."""

_MANY = 10
_FOLDERS = {
    "benchmark": "scores",
    "evaluate": "evaluation",
    "explain": "explanation",
    "export": "SavedModel",
    "predict": "predictions",
    "simulate": "simulated screen",
}
"""Kind of the folder that a command writes."""


class Command(click.Command):
    """A command of `deeploc-tf`.

    Args:
        common: flags, such as `--width`, that `--help` shows; without any, it shows all.
        attributes: as for `click.Command`.
    """

    def __init__(self, *, common: Collection[str] = (), **attributes: Any) -> None:
        super().__init__(**attributes)
        self.common = frozenset(common)
        self.reads_config = self.has_many_options()
        if self.reads_config:
            self.params += config_options()
        if all(param.name != "quiet" for param in self.params):
            self.params.append(_option(quiet_alone_option))
        self.params.append(_option(verbose_option))
        if common:
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

    def has_many_options(self) -> bool:
        """Whether there are so many that one would rather write them down."""
        return sum(isinstance(param, click.Option) for param in self.params) > _MANY

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; `--print-config` needs no arguments."""
        if self.reads_config and "--print-config" in args and not ctx.resilient_parsing:
            print_config(ctx, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and print what it has written for standard output."""
        with contextlib.ExitStack() as stack:
            if ctx.meta.get(OVERWRITE):
                from deeploc_tf.lineage.replaceable import check_replaceable
                from tfrecords.publishing import replacing

                check = functools.partial(check_replaceable, kind=_FOLDERS.get(str(self.name)))
                for output in _outputs(self, ctx):
                    stack.enter_context(replacing(output, check))
            done = super().invoke(ctx)
        print_written(ctx)
        return done

    def help_rows(
        self, ctx: click.Context, options: Iterable[click.Parameter]
    ) -> list[tuple[str, str]]:
        """Flags and texts of those of the options that this help shows."""
        always = {*self.common, "--help", "--help-all", "--quiet"}
        shown = [
            option
            for option in options
            if ctx.meta.get(ALL_OPTIONS) or not self.common or always.intersection(option.opts)
        ]
        return [row for option in shown if (row := option.get_help_record(ctx)) is not None]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that are shown."""
        some = self.common and not ctx.meta.get(ALL_OPTIONS)
        with formatter.section("Common options" if some else "Options"):
            formatter.write_dl(self.help_rows(ctx, self.get_params(ctx)))


def _outputs(command: click.Command, ctx: click.Context) -> list[Path]:
    """What the command writes.

    Raises:
        click.UsageError: it is read as well.
    """
    paths = [(p, ctx.params.get(str(p.name))) for p in command.params]
    found = [path for p, path in paths if isinstance(p.type, Output) and isinstance(path, Path)]
    read = [path for p, path in paths if not isinstance(p.type, Output) and isinstance(path, Path)]
    for path in found:
        if any(path.exists() and other.exists() and path.samefile(other) for other in read):
            msg = f"An input cannot be overwritten. Received: {str(path)!r} as both. Name another."
            raise click.UsageError(msg, ctx)
    return found


def _option(decorate: Any) -> click.Parameter:
    """The option that a decorator makes."""
    made: click.Parameter = decorate(lambda: None).__click_params__[0]
    return made


def _show_all(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the help with all options and leave, if that is asked."""
    if not value or ctx.resilient_parsing:
        return
    ctx.meta[ALL_OPTIONS] = True
    click.echo(ctx.get_help(), color=ctx.color)
    ctx.exit()
