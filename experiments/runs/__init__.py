"""What every run needs. Nothing here imports another room of the house."""
