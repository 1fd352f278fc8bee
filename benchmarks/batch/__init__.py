"""Benchmarks of batches: questions to hot and cold records, and making records cold."""
