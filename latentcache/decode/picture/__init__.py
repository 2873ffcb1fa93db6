"""Pictures: opened, measured, decoded, turned upright, made 8-bit sRGB."""
