"""From run folders to what a reader sees: statistics, tables, figures, claims, paper. Imports no experiment."""
