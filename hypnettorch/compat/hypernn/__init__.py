"""The interface of hyper-nn (https://github.com/shyamsn97/hyper-nn), its PyTorch half and its JAX half."""
