"""Records to prefetching tf.data batches of raw pixels."""
