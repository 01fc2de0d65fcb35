"""The hypernetworks, by their place in torchhyper."""
