"""Models: what the scripts should do, written for reading and not for speed."""
