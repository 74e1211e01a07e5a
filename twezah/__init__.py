"""Twezah: the programs an operator starts (command line, stack, worker)."""
