"""Captured calls: what a function can reach (state.py), what a call recorded (record.py), replays (build, emit)."""
