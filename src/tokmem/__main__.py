"""`python -m tokmem` is `tokmem`."""

from tokmem.cli.main import main

if __name__ == "__main__":
    main()
