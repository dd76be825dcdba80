"""Benchmarks: what the project promises in figures, measured on this machine in one run."""
