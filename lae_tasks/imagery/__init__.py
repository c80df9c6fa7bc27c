"""Pixels: rasters of any kind, their place on the ground, and the crops cut from them."""
