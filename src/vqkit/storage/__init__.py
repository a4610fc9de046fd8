"""What is kept on disk: checkpoints, files of codes, run directories."""
