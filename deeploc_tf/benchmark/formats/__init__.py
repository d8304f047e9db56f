"""A file a format in which standards are downloaded; `registry` knows them all."""
