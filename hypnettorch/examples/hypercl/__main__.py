"""``python -m hypnettorch.examples.hypercl``."""

from hypnettorch.examples.hypercl.run import main

if __name__ == "__main__":
    main()
