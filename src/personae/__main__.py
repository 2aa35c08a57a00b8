"""``python -m personae`` is ``personae``."""

from personae.cli import main

if __name__ == "__main__":
    main()
