"""What the PyTorch half and the JAX half share: it needs neither of the two."""
