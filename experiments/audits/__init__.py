"""Audits: what the paper got wrong or left open, shown on real data."""
