"""Fair timing: competitors in their own processes, in turns, doing the same work."""
