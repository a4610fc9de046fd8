"""Self-tests that a user can run on any machine and on any run: `vqkit doctor`."""
