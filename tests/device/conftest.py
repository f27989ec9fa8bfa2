"""The tests of this folder, and the processes they start, share native_kernels.py."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
