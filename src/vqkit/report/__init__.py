"""The page that compares runs: metrics on the same held-out images, cost, and the same images completed by every model."""
