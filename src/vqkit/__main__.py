"""`python -m vqkit` and `torchrun -m vqkit`."""

from vqkit.cli.app import main

if __name__ == "__main__":
    main()
