"""What holds for every test."""

from hypothesis import settings

# A slow machine is no wrong result; pytest's own time limit catches what hangs.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
