"""Data sets: fetched once, verified by checksum, kept as uint8 and memory-mapped. Each data set has one file here."""
