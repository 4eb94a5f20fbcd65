"""deploy: export with its parity gate, prediction from an exported file, streaming over an archive. Knows no training."""
