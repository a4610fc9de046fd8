"""Data sets, how pictures are read and written, and how batches are loaded."""
