"""marine: animals followed through videos and counted once each."""
