"""nbmem against its peers and the plain code, in one run: ``python -m bench``."""
