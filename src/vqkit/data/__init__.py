"""Data sets, their splits, masking, and the loading of batches."""
