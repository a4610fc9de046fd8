"""Models of codes, which sample what could be."""
