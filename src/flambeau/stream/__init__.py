"""The recorded stream: tensors' values, recording, planning, fusion and the cache of programs."""
