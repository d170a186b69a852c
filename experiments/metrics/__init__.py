"""Measures of reconstructions. Import each module by itself, since it brings only the libraries that it needs."""
