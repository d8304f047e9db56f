"""Tables of vectors without TensorFlow: embeddings, a row per cell; profiles, a row per protein."""
