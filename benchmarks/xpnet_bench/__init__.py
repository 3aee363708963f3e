"""Honest timing: competitors in processes of their own, in turns, doing the same work."""
