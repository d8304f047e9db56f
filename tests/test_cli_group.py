"""The command line as a whole: quick help, one sentence an error, exit codes."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from shared import run_cli

from deeploc_tf.cli import COMMANDS
from deeploc_tf.cli.group import LazyGroup
from deeploc_tf.cli.messages import messages_on_stderr
from deeploc_tf.version import __version__

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("tensorflow", "keras", "pandas", "numpy", "pyarrow", "rich", "pydantic", "tifffile")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_quick_shows_an_example_and_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys, time\n"
        "from deeploc_tf.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']!r}, prog_name='deeploc-tf')\n"
        "finally:\n"
        "    seconds = time.process_time()\n"  # other work on the machine does not count
        f"    loaded = sorted(set({HEAVY!r}) & set(sys.modules))\n"
        "    print(seconds, loaded, file=sys.stderr)\n"
    )
    done = [python("-c", code) for _ in range(2)]  # the first may have to compile
    assert done[0].returncode == 0, done[0].stderr
    assert "Examples:" in done[0].stdout
    assert f"  deeploc-tf {''.join(command)}" in done[0].stdout.split("Examples:")[1]
    seconds, loaded = done[1].stderr.split(" ", 1)
    expected = ["pydantic"] if command == ["fit"] else []  # whose options are fields of FitConfig
    assert loaded.strip() == str(expected)
    assert float(seconds) < 0.5


def test_three_ways_to_start_are_the_same() -> None:
    ways = (["-m", "deeploc_tf"], ["cli.py"], ["-c", "from deeploc_tf.cli import main; main()"])
    for way in ways:
        assert python(*way, "--version").stdout == f"deeploc-tf, version {__version__}\n"
    (module, clone, _) = (python(*way, "--help").stdout for way in ways)
    assert module == clone
    assert module.startswith("Usage: deeploc-tf ")


def test_unknown_command_is_wrong_usage_with_a_hint() -> None:
    done = run_cli("build-recods")
    assert done.exit_code == 2
    assert "Did you mean 'build-records'?" in done.stderr
    assert run_cli("inspect", "--no-such-option").exit_code == 2


def group_that(error: BaseException | None, result: object = None) -> LazyGroup:
    """A group with one command that raises or returns."""

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            def run() -> object:
                if error is not None:
                    raise error
                click.echo("done")
                return result

            self.running = click.Command("run", callback=run, params=options)
            return self.running

    options = [click.Option(["--batch-size"], expose_value=False)]
    return Group(lazy_commands={"run": ""}, name="group", invoke_without_command=False)


def named(name: str, text: str) -> Exception:
    """An error of a library, which is told by its name."""
    error: Exception = type(name, (Exception,), {})(text)
    return error


def noted() -> ValueError:
    error = ValueError("Crops must be round.")
    error.add_note("Crop: 'a/1'.")
    return error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (noted(), 1, "Error: Crops must be round. Crop: 'a/1'.\n"),
        (FileNotFoundError(2, "No such file or directory", "a.tif"), 1, "directory: a.tif\n"),
        (FileExistsError("`output` must not exist yet."), 1, "Error: `output` must not exist yet."),
        (click.UsageError("A folder needs --pattern."), 2, "Error: A folder needs --pattern."),
        (MemoryError("8 GiB"), 3, "Error: Out of memory. 8 GiB. Lower --batch-size, or use a "),
        (OSError(12, "Cannot allocate memory"), 3, "Out of memory. [Errno 12] Cannot allocate"),
        (named("ResourceExhaustedError", "OOM when allocating [9,9]\nHint"), 3, "[9,9]. Lower "),
        (named("ResourceExhaustedError", "m/x; No space left on device"), 1, "m/x; No space left"),
        (RuntimeError("can't start new thread"), 3, "Out of memory. can't start new thread. "),
        (KeyboardInterrupt(), 130, "Interrupted. No half-written file is left; the same command"),
        (KeyError("layers\n  ..."), 1, "(builtins, KeyError) This came up in `deeploc-tf run`. If"),
        (ValueError("no \x1b[2Jname\n\u202e"), 1, "Error: no \\u001b[2Jname \\u202e\n"),
    ],
)
def test_errors_are_sentences_with_exit_codes(error: Exception, code: int, text: str) -> None:
    done = CliRunner().invoke(group_that(error), ["run"])
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_commands_may_return_an_exit_code() -> None:
    assert CliRunner().invoke(group_that(None, 75), ["run"]).exit_code == 75
    assert CliRunner().invoke(group_that(None), ["run"]).exit_code == 0


def test_a_fault_of_ours_has_its_traceback_with_debug() -> None:
    done = CliRunner().invoke(group_that(RuntimeError("a bug")), ["run"])
    assert (done.exit_code, "Traceback" in done.stderr) == (1, False)
    assert "please report it with what `deeploc-tf --debug` shows" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    arguments = ["inspect", str(tmp_path / "none")]
    plain, debug = (run_cli(*f, *arguments) for f in ([], ["--debug"]))
    assert (plain.exit_code, debug.exit_code) == (1, 1)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert "Traceback" not in run_cli(*arguments).stderr  # not for ever


def test_reader_that_leaves_sees_no_traceback() -> None:
    code = (
        "import click\n"
        "from deeploc_tf.cli.group import LazyGroup\n"
        "class Group(LazyGroup):\n"
        "    def get_command(self, ctx, name):\n"
        "        def run():\n"
        "            for _ in range(100_000):\n"
        "                click.echo('x' * 80)\n"
        "        return click.Command('run', callback=run)\n"
        "Group(lazy_commands={'run': ''}, name='group')(['run'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


FACT = """
import sys
from pathlib import Path
import click
from deeploc_tf.cli.group import LazyGroup, tell
class Group(LazyGroup):
    def get_command(self, ctx, name):
        def run():
            with open(sys.argv[1], "w") as file:
                tell("working")
                file.write("result")
            click.echo("fact")
        return click.Command("run", callback=run)
Group(lazy_commands={"run": ""}, name="group")(["run"])
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    ("redirection", "code", "stdout", "stderr"),
    [
        (">&-", 0, "", "working\n"),
        ("2>&-", 0, "fact\n", ""),
        ("<&- >&- 2>&-", 0, "", ""),
        ("2>/dev/full", 0, "fact\n", ""),
        (
            *(">/dev/full", 1, ""),
            "working\nError: No space left on device: standard output. Files that the command "
            "writes are whole\n",
        ),
        (">/dev/full 2>/dev/full", 1, "", ""),
    ],
)
def test_streams_that_are_closed_or_full(
    redirection: str, code: int, stdout: str, stderr: str, tmp_path: Path
) -> None:
    result = tmp_path / "result"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" "$2" {redirection}', sys.executable, FACT, str(result)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)
    assert result.read_text() == "result"  # and nothing that was told


def test_names_steer_no_terminal() -> None:
    done = CliRunner().invoke(group_that(None), ["run"], color=True)
    assert done.stdout == "done\n"
    hostile = "P\x1b]0;title\x07\u202e\x9b2J"

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
            return click.Command("run", callback=lambda: click.echo(f"{hostile}\t1"))

    done = CliRunner().invoke(Group(lazy_commands={"run": ""}, name="g"), ["run"], color=True)
    assert done.stdout == "P\\u001b]0;title\\u0007\\u202e\\u009b2J\t1\n"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_let_commands_clean_up(tmp_path: Path, number: int, code: int) -> None:
    script = (
        "import click, pathlib, signal, sys, time\n"
        # whoever runs the tests in the background has it ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from deeploc_tf.cli.group import LazyGroup\n"
        "class Group(LazyGroup):\n"
        "    def get_command(self, ctx, name):\n"
        "        def run():\n"
        "            try:\n"
        "                pathlib.Path(sys.argv[1], 'started').touch()\n"
        "                time.sleep(60)\n"
        "            except BaseException as error:\n"
        "                error.add_note(\"What was made is kept in 'x'.\")\n"
        "                raise\n"
        "            finally:\n"
        "                pathlib.Path(sys.argv[1], 'cleaned').touch()\n"
        "        return click.Command('run', callback=run)\n"
        "Group(lazy_commands={'run': ''}, name='group')(['run'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(200):
            if (tmp_path / "started").exists():
                break
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert process.stderr is not None
        told = "Interrupted" if code == 130 else "Terminated"
        assert process.stderr.read().strip() == f"{told}. What was made is kept in 'x'."
    assert (tmp_path / "cleaned").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_second_request_to_end_is_obeyed_at_once() -> None:
    script = (
        "import os, signal\n"
        "from deeploc_tf.cli.group import noting_termination\n"
        "with noting_termination() as came:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert came()\n"
        "    print('noted', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert done.stdout == "noted\n"


def test_other_package_of_the_name_tfrecords_is_told(tmp_path: Path) -> None:
    (tmp_path / "tfrecords").mkdir()
    (tmp_path / "tfrecords" / "__init__.py").write_text("__all__ = ['TFRecordWriter']\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import deeploc_tf"
    done = python("-c", code)
    assert done.returncode == 1
    assert re.search(r"ImportError: .*pip uninstall tfrecords", done.stderr)


def test_names_that_a_terminal_cannot_show_are_escaped() -> None:
    code = (
        "import click\n"
        "from deeploc_tf.cli.group import LazyGroup\n"
        "class Group(LazyGroup):\n"
        "    def get_command(self, ctx, name):\n"
        "        return click.Command('run', callback=lambda: click.echo('\\u03b2-tubulin'))\n"
        "Group(lazy_commands={'run': ''}, name='group')(['run'])\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "\\u03b2-tubulin\n"


def test_what_is_logged_is_said_once_whatever_listens_at_the_root() -> None:
    root, heard = logging.getLogger(), logging.StreamHandler(io.StringIO())
    root.addHandler(heard)
    try:
        with messages_on_stderr():
            logging.getLogger("deeploc_tf.study").info("said")
        assert heard.stream.getvalue() == ""
        assert logging.getLogger("deeploc_tf").propagate
    finally:
        root.removeHandler(heard)
