"""The pages, their four faces, and who may see them."""
