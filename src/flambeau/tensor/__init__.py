"""The tensor that users hold: the book of ops bound to functions and methods; creation, indexing, display, exchange."""
