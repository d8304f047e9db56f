"""Training: `fit` turns records into a run folder with a model, a history and test metrics."""
