"""`python -m lae_tasks` is `lae`."""

from lae_tasks.cli import main

if __name__ == "__main__":
    main()
