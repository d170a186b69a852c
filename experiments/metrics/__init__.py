"""Measures of reconstructions. Import the modules one by one: each brings only the libraries it needs."""
