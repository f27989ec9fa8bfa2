"""The modules, one file per family."""
