"""Formulas of functionals over other functions: what `nn.functional` uses where the book of ops has no entry."""

from __future__ import annotations
