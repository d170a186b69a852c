"""What things cost: SoftAdapt's share of a step (``make bench``), and the paper's scale before it is run."""
