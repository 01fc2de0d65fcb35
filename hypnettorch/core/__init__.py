"""Vocabulary of the library: parameter table, weight resolution, formats, checks.

Modules in here know ``torch`` and nothing else of the package.
"""
