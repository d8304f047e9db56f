"""Networks as plain Keras functional models, and the layers and extractors that belong to them."""
