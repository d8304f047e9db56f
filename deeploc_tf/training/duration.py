"""How long a training is: its steps, and the epochs that they are divided into."""

from __future__ import annotations

import dataclasses

from deeploc_tf.training.config import FitConfig

MOST_EPOCHS = 80  # of a training whose number of epochs nobody gave


@dataclasses.dataclass(frozen=True)
class Duration:
    """Steps of a training; the last epoch may be shorter than the others.

    An epoch, after which a training is evaluated, saved and reported, is one pass over the crops.
    Where these are so few that there would be more than `MOST_EPOCHS`, it is several passes.

    Attributes:
        steps_per_pass: number of batches in a pass over the crops.
        steps: number of batches in the whole training.
        passes_per_epoch: number of passes over the crops in a whole epoch.
    """

    steps_per_pass: int
    steps: int
    passes_per_epoch: int = 1

    @classmethod
    def of(cls, config: FitConfig, steps_per_pass: int) -> Duration:
        """That of the settings: so many epochs, more on few crops, or so many steps."""
        epochs = config.epochs or 0
        steps = config.steps or epochs * steps_per_pass
        if epochs and steps < config.min_steps:
            steps = -(-config.min_steps // steps_per_pass) * steps_per_pass
        most = max(epochs, MOST_EPOCHS) * steps_per_pass
        return cls(steps_per_pass, steps, -(-steps // most) if steps else 1)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch that is not cut."""
        return self.steps_per_pass * self.passes_per_epoch

    @property
    def epochs(self) -> int:
        """Number of epochs, of which the last one may be cut."""
        return -(-self.steps // self.steps_per_epoch)

    @property
    def whole_epochs(self) -> int:
        """Number of epochs that are not cut."""
        return self.steps // self.steps_per_epoch

    def steps_of(self, epoch: int) -> int:
        """Number of batches in an epoch, counted from 0."""
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)

    def place(self, epoch: int, step: int = 0) -> tuple[int, int]:
        """The pass in which a step of an epoch is, and its step there; all counted from 0."""
        return divmod(epoch * self.steps_per_epoch + step, self.steps_per_pass)

    def describe(self, num_crops: int, *, evaluated: bool = True) -> str:
        """A sentence about the length of a training on so many crops.

        Args:
            num_crops: of the split to train on.
            evaluated: whether there is a validation split; else epochs are saved only.
        """
        passes = f"{self.steps / self.steps_per_pass:,.2f}".rstrip("0").rstrip(".")
        every = "after each" if self.passes_per_epoch == 1 else f"every {self.passes_per_epoch:,}"
        epochs = "" if self.passes_per_epoch == 1 else f": {self.epochs} epochs"
        return (
            f"Training takes {self.steps:,} step{'s' * (self.steps > 1)}, {passes} "
            f"pass{'es' * (passes != '1')} over {num_crops:,} crops, "
            f"{'evaluated' if evaluated else 'saved'} {every}{epochs}."
        )
