"""A simulated yeast screen that carries its own truth."""
