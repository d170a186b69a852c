"""Benchmarks: the time that SoftAdapt adds to a step (``make bench``), and a cost estimate of the paper's scale."""
