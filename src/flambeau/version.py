"""The version, in one place."""

__version__ = "0.1.0"
git_version = "Unknown"
debug = False
cuda = None
hip = None
