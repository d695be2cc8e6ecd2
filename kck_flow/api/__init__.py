"""What programs get and do, at the addresses of the pages."""
