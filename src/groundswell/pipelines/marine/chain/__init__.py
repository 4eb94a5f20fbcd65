"""marine: the chain of steps, each a folder of its own, each beginning with its predecessor's weights."""
