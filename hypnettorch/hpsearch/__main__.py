"""``python -m hypnettorch.hpsearch``."""

from hypnettorch.hpsearch.hpsearch import main

if __name__ == "__main__":
    main()
