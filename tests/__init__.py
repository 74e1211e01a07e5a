"""Tests. A package, so that no library that brings a `tests` of its own hides it."""
