"""Protocol HTTP: sign-in for programs, downloads, operation; each speaks a published standard."""
