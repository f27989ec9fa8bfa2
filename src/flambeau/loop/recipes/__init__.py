"""Recipes: hand-designed loop nests for contraction, convolution and pooling, as functions that return kernels."""
