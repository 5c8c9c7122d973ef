"""Benchmarks of truth: figures against what is known to have happened."""
