"""Data sets: one index for three kinds, audit, leak-proof split, download, phantoms, cache."""
