"""One noun a file; every file here is part of the API by existing."""
