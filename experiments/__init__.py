"""The experiments: what the paper claims, run and measured."""
