"""Small worlds gone through whole: every one of a few steps, and all in them."""
