"""The data sets: fetched once, verified by checksum, kept as uint8 and memory-mapped. One file a data set."""
