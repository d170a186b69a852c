"""Tools that every run uses. Nothing here imports another folder of this repository."""
