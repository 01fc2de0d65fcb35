"""How the figures of the tutorials look."""

import matplotlib.pyplot as plt


def apply(gallery_conf, fname):
    """Start every tutorial with the same style; Sphinx-Gallery calls this with its settings and the script's path."""
    plt.rcdefaults()
    plt.rcParams.update(
        {
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.dpi": 100,
            "font.size": 10,
            "legend.frameon": False,
        }
    )
