"""What lies on disk: files written in one piece, and hashes of the code that made them."""
