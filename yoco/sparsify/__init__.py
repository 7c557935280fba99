"""Prune the weights of a network: after training by its layers, or at initialisation."""
