"""`python -m casona` is the command `casona`."""

from casona.cli import main

if __name__ == "__main__":
    main()
