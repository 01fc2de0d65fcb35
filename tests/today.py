"""The seed of the day, with which tests draw what would take too long as a whole.

What a day has drawn is drawn again with its date as ``HYPNETTORCH_SEED``.
"""

from __future__ import annotations

import datetime
import os

TODAY = int(os.environ.get("HYPNETTORCH_SEED") or datetime.date.today().strftime("%Y%m%d"))
