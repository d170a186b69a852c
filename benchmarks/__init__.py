"""What things cost: SoftAdapt's own share of a step (``make bench``), and the paper's scale before it is run."""
