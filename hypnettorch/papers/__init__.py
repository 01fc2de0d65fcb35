"""Published figures beside ours, one command per figure.

``python -m hypnettorch.papers`` lists what can be reproduced, with the data and the processor time that it needs;
``run NAME`` does it, ``table`` makes pages of results. A recipe is a declaration: settings, and the published figures
that come out of them. What trains is the experiment, the algorithms and the public interface of the package.
"""
