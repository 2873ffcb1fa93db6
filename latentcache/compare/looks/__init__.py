"""Looks: what is taken of each sample as it comes by, and what is made of it at the end."""
