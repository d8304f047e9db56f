"""Tables of vectors without TensorFlow: embeddings, a row a cell; profiles, a row a protein."""
