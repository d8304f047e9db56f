"""Whether what was written is whole, and the chain of files from a score back to the pixels."""
