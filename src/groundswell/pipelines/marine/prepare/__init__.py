"""marine: correcting colour, haze and contrast of underwater images, before training and in use."""
