"""Autoencoders, which reconstruct whole images from their observed part."""
