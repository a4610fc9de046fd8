"""Priors: autoregressive models of codes, and their sampling."""
