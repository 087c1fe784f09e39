"""`python -m r2d COMMAND`."""

from r2d.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
