"""What programs written for hypnettorch 0.0.4 use of its insides; no modern module imports it.

- :mod:`~hypnettorch.legacy.main_network`, :mod:`~hypnettorch.legacy.hypernetwork`: the abstract classes whose
  protected lists a subclass fills by hand.
- :mod:`~hypnettorch.legacy.lists`: the same lists as views of a network of this package, for subclasses that read or
  extend them.
- :mod:`~hypnettorch.legacy.handlers`: data handlers that fill a dictionary by hand.
- :mod:`~hypnettorch.legacy.names`: single attributes that programs read.
- :mod:`~hypnettorch.legacy.recurrent`: the steps of recurrent networks that a subclass may override.

The documented paths ``hypnettorch.mnets.mnet_interface`` and ``hypnettorch.hnets.hnet_interface`` lead here.
"""

import hypnettorch.hnets
import hypnettorch.mnets  # noqa: F401 - the packages that load what is here come first, in whatever order a program asks
