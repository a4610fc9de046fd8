"""Vector quantizers: features to code indices and back."""
