"""Loop IR to machine code: math expansion, LLVM IR text, passes, object cache, loading."""
