"""Comparisons: every model trained under the same budget with several seeds, measured on the same images, in one report."""
