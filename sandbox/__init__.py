"""Boxes in which agents work: their backends, what runs inside them, and the checkout of code into and out of them."""
