"""The contract of networks as functions that anybody can call on their own classes."""

from hypnettorch.testing.contract import ContractViolation, check_hypernetwork, check_main_network

__all__ = ["ContractViolation", "check_hypernetwork", "check_main_network"]
