"""The stages of the pipeline: read, encode, train, evaluate, serve, record, keep."""
