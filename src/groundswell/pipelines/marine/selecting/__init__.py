"""marine: which images are worth annotating next: what the detector is unsure of, what is rare, what is unlike."""
