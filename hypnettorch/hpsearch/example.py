"""Strength of the regulariser and size of task embeddings, for five tasks of two handwritten digits each.

``python -m hypnettorch.hpsearch --example`` runs this search with two workers.
"""

from hypnettorch.common.extras import require

distributions = require("optuna", "the example", "search").distributions

grid = {
    "beta": distributions.FloatDistribution(1e-6, 1.0, log=True),
    "cond_emb_size": [1, 2, 4, 8],
}

_SCRIPT_NAME = "-m hypnettorch.examples.hypercl"
_SUMMARY_FILENAME = "performance_summary.txt"
_SUMMARY_KEYWORDS = ["final_average", "during_average", "forgetting", "backward_transfer", "finished"]
