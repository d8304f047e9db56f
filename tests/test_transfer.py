"""The experiment of docs/training.md: what does a first screen save on a second one?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import transfer

from deeploc_tf.simulation.simulate import Screen


def test_the_table_gives_means_and_deviations_and_chance_where_nothing_was_trained() -> None:
    rows = [(0, "first screen", 0.5), (5, "first screen", 0.6), (5, "first screen", 0.8)]
    rows += [(5, "nothing", 0.25)]
    table = pd.DataFrame(rows, columns=["cells", "beginning", "accuracy"])
    assert transfer.in_words(table).splitlines()[2:] == [
        "| 0 | 0.500 | 0.059 (chance) |",
        "| 5 | 0.700 ± 0.141 | 0.250 |",
    ]
    assert transfer.drawn(table).startswith(b"\x89PNG")


@pytest.mark.long
def test_each_draw_of_cells_is_trained_from_both_beginnings_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screens = {
        "first": Screen(num_proteins=34, difficulty=0.2, seed=1),
        "second": Screen(num_proteins=34, difficulty=0.8, seed=2, plates=2),
    }
    changes: dict[str, Any] = {
        "SCREENS": screens,
        "FIRST": transfer.FIRST.model_copy(update={"epochs": 1}),
        "EPOCHS": {2: 1, 5: 1},
        "REPEATS": 1,
        "PICTURE": tmp_path / "transfer.png",
    }
    for name, value in changes.items():
        monkeypatch.setattr(transfer, name, value)
    fits: list[tuple[Path, Path | None]] = []
    fit = transfer.fit

    def counted(records: Path, run: Path, config: Any, initial_run: Path | None = None) -> None:
        fits.append((run, initial_run))
        fit(records, run, config, initial_run=initial_run)

    monkeypatch.setattr(transfer, "fit", counted)
    out = tmp_path / "out"
    transfer.main(out)
    first = out / "run-first"
    assert [begun for _, begun in fits] == [None, first, None, first, None]
    table = pd.read_csv(out / "transfer.csv")
    assert table[["cells", "beginning"]].to_numpy().tolist() == [
        [0, "first screen"], [2, "first screen"], [2, "nothing"],
        [5, "first screen"], [5, "nothing"],
    ]  # fmt: skip
    assert table["accuracy"].between(0, 1).all()
    assert (tmp_path / "transfer.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out

    fits.clear()
    transfer.main(out)
    assert fits == [(first, None)]  # which finds itself finished
    assert capsys.readouterr().out == printed
