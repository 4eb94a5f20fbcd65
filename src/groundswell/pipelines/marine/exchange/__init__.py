"""marine: packages of images for people who draw boxes, and what they send back."""
