"""The PyTorch half of the interface of hyper-nn (https://github.com/shyamsn97/hyper-nn); there is no JAX half."""
