"""`python -m kirik`, for launchers that start modules, such as `torchrun -m kirik train …`."""

from kirik.cli import main

main()
