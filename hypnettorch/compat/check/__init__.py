"""``python -m hypnettorch.compat.check PATH ... [--rewrite]``: what becomes of a program that was written elsewhere.

It reads programs for hypnettorch 0.0.4, HyperLight, torchhyper and hyper-nn, without running them, and says for each
name of these packages that they import, and each attribute of what they import, whether it works here, works with
another import, or is gone. With ``--rewrite`` it changes the import statements of what has moved.

What is known only when a program runs, such as the attributes of an object, is not looked at. The exit status is 1 if a
name is gone or a file is no Python.
"""
