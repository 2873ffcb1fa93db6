"""``python -m latentcache`` is the command line."""

from latentcache.cli import main

if __name__ == "__main__":
    main()
