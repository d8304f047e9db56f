"""How long a training is: its steps, and the epochs that they are divided into."""

from __future__ import annotations

import dataclasses

from deeploc_tf.training.config import FitConfig


@dataclasses.dataclass(frozen=True)
class Duration:
    """Steps of a training; the last epoch may be shorter than the others.

    Attributes:
        steps_per_epoch: number of batches in a whole epoch.
        steps: number of batches in the whole training.
    """

    steps_per_epoch: int
    steps: int

    @classmethod
    def of(cls, config: FitConfig, steps_per_epoch: int) -> Duration:
        """That of the settings: so many epochs, more on few crops, or so many steps."""
        if config.steps is not None:
            return cls(steps_per_epoch, config.steps)
        epochs = config.epochs or 0
        if epochs:
            epochs = max(epochs, -(-config.min_steps // steps_per_epoch))
        return cls(steps_per_epoch, epochs * steps_per_epoch)

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
