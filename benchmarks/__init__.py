"""Speed of the library beside plain PyTorch, reported as ratios (``python -m benchmarks``)."""
