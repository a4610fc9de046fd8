"""What is learned from a batch: autoencoders, priors."""
