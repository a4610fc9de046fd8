"""Self-supervised learning of encoders: methods, views of images, and evidence of what was learned."""
