"""The book of ops: one entry for each op, one file for each family; `entry` turns entries into functions and methods."""
