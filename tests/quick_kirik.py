"""`python quick_kirik.py …` is `kirik …` with the exporter of `quick_export`, also in the processes
that it begins: those run this file once more, though not as a program."""

from quick_export import quickly

_held = quickly()
_held.__enter__()

if __name__ == "__main__":
    from kirik.cli import main

    main()
