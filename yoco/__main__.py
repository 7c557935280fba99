"""`python -m yoco`."""

from yoco.cli import main

if __name__ == "__main__":
    main()
