"""Where tensors live and kernels run: memory, threads, programs; the backends cpu, python and null."""
