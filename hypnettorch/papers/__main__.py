"""``python -m hypnettorch.papers``."""

from hypnettorch.papers.command import main

if __name__ == "__main__":
    main()
