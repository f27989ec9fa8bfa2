"""Automatic differentiation: the engine, its modes, custom functions, checks of gradients."""
