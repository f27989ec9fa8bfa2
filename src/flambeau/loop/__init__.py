"""Loop IR: the small language every kernel is written in; see `ir` for the node kinds."""
