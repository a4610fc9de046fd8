"""The page that compares runs: their figures on the same held-out images, what they cost, and the same images filled in by all."""
