"""Embedding: a trained model and records become a table of vectors, a row a cell."""
